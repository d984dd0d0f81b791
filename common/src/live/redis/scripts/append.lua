-- Gives messages their places in a room, in the order in which they stand here, keeps them in the room's stream and
-- shows them, as one step (Live::append_all).
-- KEYS  stream, ids; where one is a question also line; where one is a reply also line, turn, draft (see line_up.lua)
-- ARGV  room, channel, floor (empty if unset), µs after which the mark that this process made in the list of unsettled
--       rooms counts no longer; then four for each message: id (16 bytes), sender, the end of the frame, and its part:
--       nothing, or `?` and the id that its reply will have (16 bytes) for a question, `=` and the fence for a reply
-- Answers with one list for each message, or with one word if nothing was done.
-- The channel has the keys' hash tag but is none of them: while its slot moves, a Cluster refuses whatever names one
-- key that is there and one that is not. No other key is named needlessly, for the same reason.
-- Numbers go back as strings: Redis cuts a Lua number to an integer, and Lua prints it with 14 digits.
local call, format = redis.call, string.format
local STREAM, IDS, LINE, TURN, DRAFT = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local room, channel, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])
local head = '{"type":"message","room":"' .. room .. '","seq":'

local function known(id, sender)
  local score = call('ZSCORE', IDS, id)
  if not score then
    return nil
  end
  local place = format('%.0f', score)
  local entry = call('XRANGE', STREAM, place .. '-0', place .. '-0')[1]
  if not entry then
    return {'known only', place}
  end
  local fields = entry[2]
  if fields[2] ~= sender then
    return {'taken'}
  end
  return {'known', fields[4]}
end

local function answered(reply)
  local turn = call('HMGET', TURN, 'reply', 'draft')
  call('ZREM', LINE, reply)
  call('HDEL', TURN, 'f' .. reply)
  if turn[1] == reply then
    call('HDEL', TURN, 'reply', 'until')
  end
  if turn[2] == reply then
    call('HDEL', TURN, 'draft', 'attempt', 'to')
    call('DEL', DRAFT)
  end
end

local answers = {}
-- Set with the first message that is new.
local last, now, date, date_second
for at = 5, #ARGV, 4 do
  local id, sender, tail, part = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local role = string.sub(part, 1, 1)
  local answer = known(id, sender)
  if not answer and role == '=' and call('HGET', TURN, 'f' .. id) ~= string.sub(part, 2) then
    answer = {'fenced'}
  end
  if not answer then
    if not now then
      last = tonumber(call('ZRANGE', IDS, -1, -1, 'WITHSCORES')[2])
      if not last then
        if not floor then
          return 'cold'
        end
        -- The keys expire together, but a server that evicts may have taken the ids alone.
        local newest = call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)[1]
        last = newest and tonumber(string.match(newest[1], '^%d+')) or 0
      end
      if floor and floor > last then
        last = floor
      end
      local time = call('TIME')
      now = time[1] * 1000000 + time[2]
      if now > tonumber(ARGV[4]) then
        return 'mark again'
      end
    end
    local seq = now > last and now or last + 1
    local second = math.floor(seq / 1000000)
    if second ~= date_second then
      date, date_second = rfc3339(second), second
    end
    local place, before = format('%.0f', seq), format('%.0f', last)
    local frame = head .. place .. ',"prev":' .. before
      .. format(',"at":"%s.%06dZ",', date, seq - second * 1000000) .. tail
    call('XADD', STREAM, 'MAXLEN', '~', STREAM_MAX_MESSAGES, place .. '-0', 'sender', sender, 'frame', frame)
    call('ZADD', IDS, place, id)
    if role == '?' then
      call('ZADD', LINE, 'NX', place, string.sub(part, 2))
      call('PEXPIRE', LINE, STREAM_IDLE_MS)
    elseif role == '=' then
      answered(id)
    end
    call('SPUBLISH', channel, 'm' .. place .. ' ' .. before .. ' ' .. frame)
    answer = {'new', place, before}
    last = seq
  end
  answers[#answers + 1] = answer
end

if now then
  -- Only whole nodes of the stream that are old enough go, and never more than there are too many: both limits hold
  -- without looking at a single entry.
  local too_many = call('XLEN', STREAM) - STREAM_MESSAGES
  if too_many >= TRIM_BATCH then
    call('XTRIM', STREAM, 'MINID', '~', format('%.0f-0', last - STREAM_MIN_AGE_US), 'LIMIT', too_many)
  end
  if call('ZCARD', IDS) >= REMEMBERED_IDS + TRIM_BATCH then
    call('ZREMRANGEBYRANK', IDS, 0, -REMEMBERED_IDS - 1)
  end
  call('PEXPIRE', STREAM, STREAM_IDLE_MS)
  call('PEXPIRE', IDS, STREAM_IDLE_MS)
end
return answers
