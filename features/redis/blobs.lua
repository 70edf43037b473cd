-- Set pairs that expire, all or none; false where the server has no such command (Valkey has it since 9.1, Redis since 8.4).
local function set_expiring(pairs, n, expires)
  pairs[n + 1], pairs[n + 2] = 'PX', expires
  local answer = redis.pcall('MSETEX', n / 2, unpack(pairs, 1, n + 2))
  return type(answer) ~= 'table'
end
-- Set the blobs of KEYS[first] and all keys after it. ARGV from `at`: how many runs follow, each as (how many blobs, after
-- how many milliseconds they expire; 0: never), then one blob for each key.
local function set_blobs(first, at)
  local runs = tonumber(ARGV[at])
  local key, value = first, at + 1 + 2 * runs
  local together = true
  for run = at + 1, at + 2 * runs, 2 do
    local last, expires = key + tonumber(ARGV[run]) - 1, ARGV[run + 1]
    -- Some hundred at a time: a call costs more than a pair, and a call takes at most 8 000 values.
    local pairs, n = {}, 0
    for i = key, last do
      pairs[n + 1], pairs[n + 2], n = KEYS[i], ARGV[value], n + 2
      value = value + 1
      if n == 200 or i == last then
        if expires == '0' then
          redis.call('MSET', unpack(pairs, 1, n))
        else
          together = together and set_expiring(pairs, n, expires)
          if not together then
            for pair = 1, n, 2 do redis.call('SET', pairs[pair], pairs[pair + 1], 'PX', expires) end
          end
        end
        n = 0
      end
    end
    key = last + 1
  end
end
