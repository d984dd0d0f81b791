-- The rooms that have been on the list longest, each with its version, or 0 if that is too young to be settled by.
-- KEYS  unsettled
-- ARGV  how many, the age in µs from which a version can be settled, the age in µs at which it is forgotten
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
local rooms = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 2, #rooms, 2 do
  local version = tonumber(rooms[i])
  rooms[i] = version <= now - ARGV[2] and string.format('%.0f', version) or '0'
end
return rooms
