-- Set the blobs of KEYS[first] and all keys after it. ARGV from `at`: how many runs follow, each as (how many blobs, after
-- how many milliseconds they expire; 0: never), then one blob for each key.
local function set_blobs(first, at)
  local runs = tonumber(ARGV[at])
  local key, value = first, at + 1 + 2 * runs
  for run = at + 1, at + 2 * runs, 2 do
    local last, expires = key + tonumber(ARGV[run]) - 1, ARGV[run + 1]
    if expires == '0' then
      -- Some hundred at a time: a call costs more than a pair, and a call takes at most 8 000 values.
      local pairs, n = {}, 0
      for i = key, last do
        pairs[n + 1], pairs[n + 2], n = KEYS[i], ARGV[value], n + 2
        value = value + 1
        if n == 200 or i == last then
          redis.call('MSET', unpack(pairs, 1, n))
          n = 0
        end
      end
    else
      for i = key, last do
        redis.call('SET', KEYS[i], ARGV[value], 'PX', expires)
        value = value + 1
      end
    end
    key = last + 1
  end
end
