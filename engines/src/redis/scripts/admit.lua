-- Counts what a user asks, by when it was posted (Quota::admit).
-- KEYS  asked
-- ARGV  id of the request, when it was posted in µs, how many a window, the window in µs
-- Returns µs until one more counts, or -1 if this one does.
local id, posted, limit, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('ZSCORE', KEYS[1], id) then
  return '-1'
end
local function text(time)
  return string.format('%.0f', time)
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', text(posted - 2 * window))
local lately = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. text(posted - window), text(posted), 'WITHSCORES')
local over = #lately / 2 - limit
if over >= 0 then
  local time = redis.call('TIME')
  local free_at = tonumber(lately[2 * over + 2]) + window
  return text(math.max(0, free_at - time[1] * 1000000 - time[2]))
end
redis.call('ZADD', KEYS[1], text(posted), id)
redis.call('PEXPIRE', KEYS[1], text(2 * window / 1000))
return '-1'
