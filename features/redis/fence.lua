-- One atomic step behind a fence. KEYS: fence hash, side hash, blob keys.
-- ARGV: epoch, then four counted lists: expected (field, value), fields to set (field, value), counters (field, delta),
-- side fields to set (field, value), side fields to delete (field); then the blobs as blobs.lua takes them.
local epoch = redis.call('HGET', KEYS[1], 'epoch')
if epoch ~= ARGV[1] then
  return redis.error_reply('FENCED epoch ' .. tostring(epoch) .. ' expected ' .. ARGV[1])
end
local at = 2
local function count()
  local n = tonumber(ARGV[at])
  at = at + 1
  return n
end
local n = count()
for i = at, at + 2 * n - 1, 2 do
  local found = redis.call('HGET', KEYS[1], ARGV[i]) or '0'
  if found ~= ARGV[i + 1] then
    return redis.error_reply('FENCED ' .. ARGV[i] .. ' ' .. found .. ' expected ' .. ARGV[i + 1])
  end
end
at = at + 2 * n
n = count()
for i = at, at + 2 * n - 1, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
at = at + 2 * n
n = count()
for i = at, at + 2 * n - 1, 2 do redis.call('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
at = at + 2 * n
n = count()
for i = at, at + 2 * n - 1, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
at = at + 2 * n
n = count()
for i = at, at + n - 1 do redis.call('HDEL', KEYS[2], ARGV[i]) end
at = at + n
set_blobs(3, at)
return 'OK'
