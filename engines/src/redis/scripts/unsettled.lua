-- The rooms that have been on the list longest, each with its version, or 0 if that is too young to be settled by; and
-- those that were settled in an earlier round of comparing, each with the version that it is on that list by. Begins with
-- the round, a server's time in µs.
-- KEYS  unsettled, settled (by the time of that, or the round if that is later), round
-- ARGV  how many, the age in µs from which a version can be settled, the age in µs at which it is forgotten, the server
--       that they are going to be compared with
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit = tonumber(ARGV[1])
local known = redis.call('HMGET', KEYS[3], 'server', 'round')
local round = tonumber(known[2] or '0')
if known[1] ~= ARGV[4] then
  -- Behind all that is settled, also where the clock is not: the server that kept it before may have been ahead.
  local newest = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2] or '0')
  round = math.max(now, round + 1, newest + 1)
  redis.call('HSET', KEYS[3], 'server', ARGV[4], 'round', string.format('%.0f', round))
end
local forgotten = string.format('%.0f', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', forgotten)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', forgotten)
local before = string.format('(%.0f', round)
local again = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', before, 'WITHSCORES', 'LIMIT', 0, math.ceil(limit / 2))
local left = limit - #again / 2
local rooms = left > 0 and redis.call('ZRANGE', KEYS[1], 0, left - 1, 'WITHSCORES') or {}
for i = 2, #rooms, 2 do
  local version = tonumber(rooms[i])
  rooms[i] = version <= now - ARGV[2] and string.format('%.0f', version) or '0'
end
for i = 1, #again, 2 do
  rooms[#rooms + 1] = again[i]
  rooms[#rooms + 1] = string.format('%.0f', tonumber(again[i + 1]))
end
return { string.format('%.0f', round), rooms }
