-- The rooms that were marked longest ago, each with its mark, or 0 if that is too young to be settled by.
-- KEYS  unsettled
-- ARGV  how many, the age in µs from which a mark can be settled, the age in µs at which it is forgotten
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[3]))
local rooms = redis.call('ZRANGE', KEYS[1], 0, ARGV[1] - 1, 'WITHSCORES')
for i = 2, #rooms, 2 do
  local mark = tonumber(rooms[i])
  rooms[i] = mark <= now - ARGV[2] and string.format('%.0f', mark) or '0'
end
return rooms
