-- The fleet's run queue (RunQueue).
-- KEYS  queue, offers, tags, clock
-- ARGV  `offer`, place, user, work: puts it into the queue
--       `before`, place: how many stand before it, or -1 if it is not there
--       `take`, users who are passed over: the first offer of another, or nothing
--       `withdraw`, place: 1 if it was there
-- Start-time fair queueing: the sorted set `queue` has the places by virtual time, in which each of a user's offers
-- begins one after the one before it (`tags`, by user), and none before what was taken last (`clock`). A place begins
-- with the time at which it was asked, so that of two at the same virtual time the older one goes first. The hash
-- `offers` has user and work by place.
local call = redis.call
local QUEUE, OFFERS, TAGS, CLOCK = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local task, place = ARGV[1], ARGV[2]

if task == 'before' then
  return call('ZRANK', QUEUE, place) or -1
elseif task == 'withdraw' then
  call('HDEL', OFFERS, place)
  return call('ZREM', QUEUE, place)
elseif task == 'offer' then
  local user, work = ARGV[3], ARGV[4]
  local begins = 1 + math.max(tonumber(call('GET', CLOCK) or 0), tonumber(call('ZSCORE', TAGS, user) or 0))
  call('ZADD', QUEUE, begins, place)
  call('HSET', OFFERS, place, user .. ' ' .. work)
  call('ZADD', TAGS, begins, user)
  for _, key in ipairs(KEYS) do
    call('PEXPIRE', key, KEPT_MS)
  end
  return 0
end

local is_passed_over = {}
for at = 2, #ARGV do
  is_passed_over[ARGV[at]] = true
end
local first = call('ZRANGE', QUEUE, 0, LOOKED_THROUGH - 1, 'WITHSCORES')
for at = 1, #first, 2 do
  local offer = call('HGET', OFFERS, first[at])
  local user, work = string.match(offer or '', '^(%S+) (.*)$')
  if not user then
    call('ZREM', QUEUE, first[at])
  elseif not is_passed_over[user] then
    call('ZREM', QUEUE, first[at])
    call('HDEL', OFFERS, first[at])
    local now = math.max(tonumber(call('GET', CLOCK) or 0), tonumber(first[at + 1]))
    if call('EXISTS', QUEUE) == 0 then
      call('DEL', TAGS, CLOCK)
    else
      call('SET', CLOCK, now, 'PX', KEPT_MS)
      call('ZREMRANGEBYSCORE', TAGS, '-inf', now)
    end
    return {first[at], user, work}
  end
end
return {}
