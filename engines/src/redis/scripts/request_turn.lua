-- Puts a reply into a room's turn queue or keeps it there, and gives it the turn if that has come
-- (Turns::request_turn).
-- KEYS  ids, turn queue, turn
-- ARGV  reply (16 bytes), the request's seq, holder, the least number of the fence, lease in µs, how long in µs those
--       before are waited for, `now` if it does not wait for the turn, then the replies (16 bytes each) that whoever asks
--       has in hand behind this one
-- The turn queue is a sorted set of the replies to be written, by the seqs of their requests. The hash `turn` has whose
-- turn it is (`reply`, until when: `until`), and by a reply's id behind a letter: `f`, the fence, its number and who
-- holds it; `s`, when somebody was last seen who has its request in hand; `w`, since when it is waited for although
-- nobody has.
local reply, holder = ARGV[1], ARGV[3]
if redis.call('ZSCORE', KEYS[1], reply) or redis.call('ZSCORE', KEYS[1], 'gone') then
  return {'answered'}
end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number)
  return string.format('%.0f', number)
end
-- Whoever was there within this time is there: a turn is renewed, and asked for, more often.
local FRESH_US = ARGV[5] * FRESH_OF_LEASE

local known = redis.call('HGET', KEYS[3], 'f' .. reply) or '0 '
local number, by = string.match(known, '^(%d+) (.*)$')
number = tonumber(number)
local is_mine = by == holder
local next = is_mine and number or math.max(number + 1, tonumber(ARGV[4]))
local turn = redis.call('HMGET', KEYS[3], 'reply', 'until')
local is_live = turn[1] and tonumber(turn[2]) > now

if ARGV[7] == 'now' then
  -- Whoever renewed it a moment ago is at it.
  if is_live and turn[1] == reply and not is_mine and tonumber(turn[2]) - now > ARGV[5] - FRESH_US then
    return {'waiting'}
  end
else
  redis.call('ZADD', KEYS[2], 'NX', ARGV[2], reply)
  redis.call('PEXPIRE', KEYS[2], STREAM_IDLE_MS)
  -- All that nobody has in hand are timed at once, not one after the other.
  local in_hand = {[reply] = true}
  for at = 8, #ARGV do
    in_hand[ARGV[at]] = true
  end
  local first = redis.call('ZRANGE', KEYS[2], 0, TIMED_MAX - 1)
  for _, other in ipairs(first) do
    local seen = tonumber(redis.call('HGET', KEYS[3], 's' .. other) or 0)
    if in_hand[other] then
      redis.call('HSET', KEYS[3], 's' .. other, text(now))
      redis.call('HDEL', KEYS[3], 'w' .. other)
    elseif now - seen > FRESH_US then
      redis.call('HSETNX', KEYS[3], 'w' .. other, text(now))
    end
  end
  redis.call('PEXPIRE', KEYS[3], STREAM_IDLE_MS)
  if not (is_mine and turn[1] == reply) then
    if is_live then
      return {'waiting'}
    end
    for _, other in ipairs(first) do
      if other == reply then
        break
      end
      local since = tonumber(redis.call('HGET', KEYS[3], 'w' .. other) or now)
      if now - since < tonumber(ARGV[6]) then
        return {'waiting'}
      end
      redis.call('ZREM', KEYS[2], other)
      redis.call('HDEL', KEYS[3], 's' .. other, 'w' .. other)
    end
    if redis.call('ZRANGE', KEYS[2], 0, 0)[1] ~= reply then
      return {'waiting'}
    end
    -- Whoever let the turn lapse is fenced off.
    local lapsed = turn[1] and redis.call('HGET', KEYS[3], 'f' .. turn[1])
    if lapsed then
      redis.call('HSET', KEYS[3], 'f' .. turn[1], string.match(lapsed, '^%d+ '))
    end
  end
  redis.call('HSET', KEYS[3], 'reply', reply, 'until', text(now + ARGV[5]))
end
redis.call('HSET', KEYS[3], 'f' .. reply, next .. ' ' .. holder)
redis.call('PEXPIRE', KEYS[3], STREAM_IDLE_MS)
return {'granted', tostring(next)}
