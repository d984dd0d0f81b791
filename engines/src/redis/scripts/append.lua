-- Gives messages their seqs in a room, in the order in which they stand here, keeps them in the room's stream and
-- publishes them, as one step (Live::append_all).
-- KEYS  stream, ids; where one is a question also turn queue; where one is a reply also turn queue, turn, draft
--       (see request_turn.lua); where one is an edit or a deletion also all of these, and changes: a hash that has, by a
--       message's id as text, the seq of its newest edit, or `d` and that of its deletion
-- ARGV  room, channel, floor (empty if unset), µs after which the version that this process wrote to the list of
--       unsettled rooms counts no longer, the present second by the caller's clock and how RFC 3339 writes that (what
--       comes behind the seconds left out), since when the ids must be remembered (empty if that does not matter); then
--       four for each message: id (16 bytes), sender, the end of the frame, and its role:
--       nothing, or `?` and the id that its reply will have (16 bytes) for a question, `=` and the fence for a reply, `~`
--       for an edit and `-` for a deletion, and behind those the id of the message (as text) and of its reply (16 bytes)
-- Answers with one text for each message, or with one word if nothing was done.
-- The channel has the keys' hash tag but is none of them: while its slot moves, a Cluster refuses whatever names one
-- key that is there and one that is not. No other key is named needlessly, for the same reason.
-- A call into Redis takes some microsecond, and a number that becomes text a third of that: there are as few of both as
-- can be.
local call, format, sub, floor_of = redis.call, string.format, string.sub, math.floor
local STREAM, IDS, TURN_QUEUE, TURN, DRAFT, CHANGES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local room, channel, floor = ARGV[1], ARGV[2], tonumber(ARGV[3])

local function known(id, sender)
  local score = call('ZSCORE', IDS, id)
  if not score then
    return nil
  end
  local seq = format('%.0f', score)
  local entry = call('XRANGE', STREAM, seq .. '-0', seq .. '-0')[1]
  if not entry then
    return 'forgotten ' .. seq
  end
  local fields = entry[2]
  if fields[2] ~= sender then
    return 'taken '
  end
  return 'known ' .. fields[4]
end

-- When a version 7 id was made at the latest, in µs.
local function made_at(id)
  local a, b, c, d, e, f, version = string.byte(id, 1, 7)
  if floor_of(version / 16) == 7 then
    return ((((((a * 256 + b) * 256 + c) * 256) + d) * 256 + e) * 256 + f) * 1000 + 999
  end
end

local function answered(reply)
  local turn = call('HMGET', TURN, 'reply', 'draft')
  call('ZREM', TURN_QUEUE, reply)
  call('HDEL', TURN, 'f' .. reply, 's' .. reply, 'w' .. reply)
  if turn[1] == reply then
    call('HDEL', TURN, 'reply', 'until')
  end
  if turn[2] == reply then
    call('HDEL', TURN, 'draft', 'attempt', 'to')
    call('DEL', DRAFT)
  end
end

local first = tonumber(call('ZRANGE', IDS, -1, -1, 'WITHSCORES')[2])
local is_cold = not first
if first and first >= ROOM_GONE then
  return 'gone'
end
if is_cold then
  if not floor then
    return 'cold'
  end
  -- The keys expire together, but a server that evicts may have taken the ids alone.
  local newest = call('XREVRANGE', STREAM, '+', '-', 'COUNT', 1)[1]
  first = newest and tonumber(string.match(newest[1], '^%d+')) or 0
end
if floor and floor > first then
  first = floor
end
if not floor and ARGV[7] ~= '' then
  -- An id that was made before the oldest that is remembered may have been used before that as well.
  local oldest = call('ZRANGE', IDS, 0, 0, 'WITHSCORES')[2]
  if oldest and tonumber(oldest) > tonumber(ARGV[7]) then
    for at = 8, #ARGV, 4 do
      local made = made_at(ARGV[at])
      if made and made < tonumber(oldest) and not call('ZSCORE', IDS, ARGV[at]) then
        return 'cold'
      end
    end
  end
end
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if now > tonumber(ARGV[4]) then
  return 'unsettle again'
end

local head = '{"type":"message","room":"' .. room .. '","seq":'
local date_second, date = ARGV[5], ARGV[6]
local last, before = first, format('%.0f', first)
local answers, erased = {}, nil
for at = 8, #ARGV, 4 do
  local id, sender, tail, role = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local kind = sub(role, 1, 1)
  local answer
  if kind == '=' then
    answer = known(id, sender)
    if not answer and call('HGET', TURN, 'f' .. id) ~= sub(role, 2) then
      answer = 'fenced '
    end
  elseif kind == '~' or kind == '-' then
    answer = known(id, sender)
    if not answer and sub(call('HGET', CHANGES, sub(role, 2, 37)) or '', 1, 1) == 'd' then
      answer = 'gone '
    end
    answer = answer or kind == '-' and too_soon(now) or nil
  end
  if not answer then
    local seq = now > last and now or last + 1
    local seq_text = format('%.0f', seq)
    -- Takes the seq and says whether the id was known, both at once.
    if call('ZADD', IDS, 'NX', seq_text, id) == 0 then
      answer = known(id, sender)
    else
      local second = sub(seq_text, 1, -7)
      if second ~= date_second then
        date, date_second = rfc3339(tonumber(second)), second
      end
      local begin = head
      if kind == '~' or kind == '-' then
        local of = sub(role, 2, 37)
        begin = '{"type":"' .. (kind == '-' and 'deleted' or 'edited') .. sub(head, 17)
        change(kind, of, sub(role, 38), seq_text)
        if kind == '-' then
          erased = erased or {}
          erased[of] = true
        end
      end
      local frame = begin .. seq_text .. ',"prev":' .. before .. ',"at":"' .. date .. '.' .. sub(seq_text, -6) .. 'Z",' .. tail
      call('XADD', STREAM, seq_text .. '-0', 'sender', sender, 'frame', frame)
      if kind == '?' then
        call('ZADD', TURN_QUEUE, 'NX', seq_text, sub(role, 2))
        call('PEXPIRE', TURN_QUEUE, STREAM_IDLE_MS)
      elseif kind == '=' then
        answered(id)
      end
      call('SPUBLISH', channel, 'm' .. seq_text .. ' ' .. before .. ' ' .. frame)
      answer = 'new ' .. seq_text .. ' ' .. before
      last, before = seq, seq_text
    end
  end
  answers[#answers + 1] = answer
end

if erased then
  erase(erased, now)
end
if CHANGES then
  forget_old_changes()
end
if last ~= first then
  -- Now and then: by chance, where seqs are times, and for one message in so many where they are only counted.
  if last % TRIM_EVERY < #answers then
    -- Only whole nodes of the stream that are old enough go, and never more than there are too many: both limits hold
    -- without looking at a single entry.
    local too_many = call('XLEN', STREAM) - STREAM_MESSAGES
    if too_many >= TRIM_BATCH then
      call('XTRIM', STREAM, 'MINID', '~', format('%.0f-0', last - STREAM_MIN_AGE_US), 'LIMIT', too_many)
      call('XTRIM', STREAM, 'MAXLEN', '~', STREAM_MAX_MESSAGES)
    end
    local ids = call('ZCARD', IDS)
    if ids >= REMEMBERED_IDS + TRIM_BATCH then
      local newest_to_go = call('ZRANGE', IDS, -REMEMBERED_IDS - 1, -REMEMBERED_IDS - 1, 'WITHSCORES')[2]
      call('ZREMRANGEBYSCORE', IDS, '-inf', format('%.0f', math.min(newest_to_go, last - REMEMBERED_IDS_MIN_AGE_US)))
      if ids >= REMEMBERED_IDS_MAX + TRIM_BATCH then
        call('ZREMRANGEBYRANK', IDS, 0, -REMEMBERED_IDS_MAX - 1)
      end
    end
  end
  -- A room that is silent for so long is forgotten, give or take a part of that. Where seqs are not times any more,
  -- nothing else tells how long ago the last one was.
  if is_cold or last > now or floor_of(first / EXPIRE_EVERY_US) ~= floor_of(last / EXPIRE_EVERY_US) then
    call('PEXPIRE', STREAM, STREAM_IDLE_MS)
    call('PEXPIRE', IDS, STREAM_IDLE_MS)
  end
end
return answers
