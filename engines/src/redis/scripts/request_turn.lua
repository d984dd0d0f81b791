-- Puts a reply into a room's turn queue or keeps it there, and gives it the turn if that has come
-- (Turns::request_turn).
-- KEYS  ids, turn queue, turn
-- ARGV  reply (16 bytes), the request's seq, holder, the least number of the fence, lease in µs, how long in µs those
--       before are waited for, `now` if it does not wait for the turn
-- The turn queue is a sorted set of the replies to be written, by the seqs of their requests. The hash `turn` has whose
-- turn it is (`reply`, until when: `until`), who is waited for (`awaited`, `since`), and for each reply that somebody
-- was at, `f` and its id, the fence: its number, and who holds it.
local reply, holder = ARGV[1], ARGV[3]
if redis.call('ZSCORE', KEYS[1], reply) then
  return {'answered'}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local known = redis.call('HGET', KEYS[3], 'f' .. reply) or '0 '
local number, by = string.match(known, '^(%d+) (.*)$')
number = tonumber(number)
local is_mine = by == holder
local next = is_mine and number or math.max(number + 1, tonumber(ARGV[4]))
local turn = redis.call('HMGET', KEYS[3], 'reply', 'until')
local is_live = turn[1] and tonumber(turn[2]) > now

if ARGV[7] == 'now' then
  if is_live and turn[1] == reply and not is_mine and tonumber(ARGV[4]) <= number then
    return {'waiting'}
  end
else
  redis.call('ZADD', KEYS[2], 'NX', ARGV[2], reply)
  redis.call('PEXPIRE', KEYS[2], STREAM_IDLE_MS)
  if not (is_mine and turn[1] == reply) then
    if is_live then
      return {'waiting'}
    end
    local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    while first ~= reply do
      local awaited = redis.call('HMGET', KEYS[3], 'awaited', 'since')
      if awaited[1] ~= first then
        awaited = {first, string.format('%.0f', now)}
        redis.call('HSET', KEYS[3], 'awaited', first, 'since', awaited[2])
        redis.call('PEXPIRE', KEYS[3], STREAM_IDLE_MS)
      end
      if now - tonumber(awaited[2]) < tonumber(ARGV[6]) then
        return {'waiting'}
      end
      redis.call('ZREM', KEYS[2], first)
      first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
    end
    -- Whoever let the turn lapse is fenced off.
    local lapsed = turn[1] and redis.call('HGET', KEYS[3], 'f' .. turn[1])
    if lapsed then
      redis.call('HSET', KEYS[3], 'f' .. turn[1], string.match(lapsed, '^%d+ '))
    end
    redis.call('HDEL', KEYS[3], 'awaited', 'since')
  end
  redis.call('HSET', KEYS[3], 'reply', reply, 'until', string.format('%.0f', now + ARGV[5]))
end
redis.call('HSET', KEYS[3], 'f' .. reply, next .. ' ' .. holder)
redis.call('PEXPIRE', KEYS[3], STREAM_IDLE_MS)
return {'granted', tostring(next)}
