-- Take part of a caller's quota in its window. KEYS: the window's counter. ARGV: wanted, quota, window in milliseconds.
-- The key expires with the window, which begins when the key is made.
local used = tonumber(redis.call('GET', KEYS[1]) or '0')
local granted = math.max(0, math.min(tonumber(ARGV[1]), tonumber(ARGV[2]) - used))
if granted > 0 then used = redis.call('INCRBY', KEYS[1], granted) end
local resets = redis.call('PTTL', KEYS[1])
if resets < 0 then
  resets = tonumber(ARGV[3])
  redis.call('PEXPIRE', KEYS[1], resets)
end
return {granted, math.max(0, tonumber(ARGV[2]) - used), resets}
