-- Takes a room off the list of unsettled rooms and notes that it is settled, unless it has another version by now, or
-- another round of comparing has begun.
-- KEYS  unsettled, settled, round, looks (see unsettled.lua)
-- ARGV  room, version, round
if redis.call('HGET', KEYS[3], 'round') ~= ARGV[3] then
  return 0
end
local time = redis.call('TIME')
local version = tonumber(ARGV[2])
for list = 1, 2 do
  local listed = redis.call('ZSCORE', KEYS[list], ARGV[1])
  if listed and tonumber(listed) == version then
    if list == 1 then
      redis.call('ZREM', KEYS[1], ARGV[1])
    end
    redis.call('HDEL', KEYS[4], ARGV[1])
    local settled = math.max(time[1] * 1000000 + time[2], tonumber(ARGV[3]))
    redis.call('ZADD', KEYS[2], string.format('%.0f', settled), ARGV[1])
    return 0
  end
end
return 0
