-- Gives a message its place, keeps it in the room's stream and shows it, as one step (Live::append).
-- KEYS  stream, ids; for a question to the bot also line; for a reply also line, turn, draft (see line_up.lua)
-- ARGV  id (16 bytes), sender, room, the end of the frame, floor (empty if unset), µs after which the mark that this
--       process made in the list of unsettled rooms counts no longer, channel; for a question the id that its reply
--       will have (16 bytes); for a reply its fence
-- The channel has the keys' hash tag but is none of them: while its slot moves, a Cluster refuses whatever names one
-- key that is there and one that is not.
-- Numbers go back as strings: Redis cuts a Lua number to an integer, and Lua prints it with 14 digits.
local id, sender, room, tail = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local floor = tonumber(ARGV[5])

local known = redis.call('ZSCORE', KEYS[2], id)
if known then
  local place = string.format('%.0f', known)
  local entry = redis.call('XRANGE', KEYS[1], place .. '-0', place .. '-0')[1]
  if not entry then
    return {'known only', place}
  end
  local fields = entry[2]
  if fields[2] ~= sender then
    return {'taken'}
  end
  return {'known', fields[4]}
end

local asks, answers = #KEYS == 3, #KEYS == 5
if answers and redis.call('HGET', KEYS[4], 'f' .. id) ~= ARGV[8] then
  return {'fenced'}
end

local last = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
if not last then
  if not floor then
    return {'cold'}
  end
  -- The keys expire together, but a server that evicts may have taken the ids alone.
  local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
end

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[6]) then
  return {'mark again'}
end

local prev = floor and floor > last and floor or last
local seq = now > prev and now or prev + 1
local place, before = string.format('%.0f', seq), string.format('%.0f', prev)
local frame = '{"type":"message","room":"' .. room .. '","seq":' .. place .. ',"prev":' .. before
  .. ',"at":"' .. rfc3339(seq) .. '",' .. tail

redis.call('XADD', KEYS[1], 'MAXLEN', '~', STREAM_MAX_MESSAGES, place .. '-0', 'sender', sender, 'frame', frame)
-- Only whole nodes of the stream that are old enough go, and never more than there are too many: both limits hold
-- without looking at a single entry.
local too_many = redis.call('XLEN', KEYS[1]) - STREAM_MESSAGES
if too_many >= TRIM_BATCH then
  redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f-0', seq - STREAM_MIN_AGE_US), 'LIMIT', too_many)
end
redis.call('ZADD', KEYS[2], place, id)
if redis.call('ZCARD', KEYS[2]) >= REMEMBERED_IDS + TRIM_BATCH then
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -REMEMBERED_IDS - 1)
end
redis.call('PEXPIRE', KEYS[1], STREAM_IDLE_MS)
redis.call('PEXPIRE', KEYS[2], STREAM_IDLE_MS)
if asks then
  redis.call('ZADD', KEYS[3], 'NX', place, ARGV[8])
  redis.call('PEXPIRE', KEYS[3], STREAM_IDLE_MS)
elseif answers then
  local turn = redis.call('HMGET', KEYS[4], 'reply', 'draft')
  redis.call('ZREM', KEYS[3], id)
  redis.call('HDEL', KEYS[4], 'f' .. id)
  if turn[1] == id then
    redis.call('HDEL', KEYS[4], 'reply', 'until')
  end
  if turn[2] == id then
    redis.call('HDEL', KEYS[4], 'draft', 'attempt', 'to')
    redis.call('DEL', KEYS[5])
  end
end
redis.call('SPUBLISH', ARGV[7], 'm' .. place .. ' ' .. before .. ' ' .. frame)
return {'new', place, before}
