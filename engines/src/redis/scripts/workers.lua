-- Puts down that a worker is there, and returns how many were lately, since when there has always been one, and what
-- time it is (Quota::workers).
-- KEYS  workers, since
-- ARGV  worker, for how long it counts in µs, for how long none may have shown in µs
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function whole(number)
  return string.format('%.0f', number)
end

local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
local since = redis.call('GET', KEYS[2])
if not since or not newest or now - tonumber(newest) > tonumber(ARGV[3]) then
  since = whole(now)
end
local kept_ms = whole(ARGV[2] / 1000)
redis.call('SET', KEYS[2], since, 'PX', kept_ms)
redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], kept_ms)
return {redis.call('ZCARD', KEYS[1]), since, whole(now)}
