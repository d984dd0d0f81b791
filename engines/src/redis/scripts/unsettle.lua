-- Puts a room on the list of unsettled rooms and returns its version there: the server's time in µs.
-- KEYS  unsettled
-- ARGV  room
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
redis.call('ZADD', KEYS[1], now, ARGV[1])
return now
