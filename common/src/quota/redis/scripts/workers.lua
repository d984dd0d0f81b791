-- Puts down that a worker is there, and returns how many were lately (Quota::workers).
-- KEYS  workers
-- ARGV  worker, for how long it counts in µs
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - ARGV[2]))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[2] / 1000))
return redis.call('ZCARD', KEYS[1])
