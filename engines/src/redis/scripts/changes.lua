-- What an edit or a deletion does beside taking its place: a part of append.lua. Only where there is one is any of this
-- made, since each function that a script makes costs each message.
local change, too_soon, changed_by, erase, forget_old_changes
if KEYS[6] then
  local call, sub = redis.call, string.sub
  local STREAM, TURN, DRAFT, CHANGES = KEYS[1], KEYS[4], KEYS[5], KEYS[6]

  -- The 16 bytes of an id that is written as text.
  local function uuid_bytes(text)
    return (string.gsub(string.gsub(text, '%-', ''), '%x%x', function(byte)
      return string.char(tonumber(byte, 16))
    end))
  end

  -- Whoever writes this reply has to ask for the turn again, and reads then what is to be answered. The draft goes.
  local function interrupt(reply)
    local number = string.match(call('HGET', TURN, 'f' .. reply) or '', '^%d+ ')
    if number then
      call('HSET', TURN, 'f' .. reply, number)
    end
    local turn = call('HMGET', TURN, 'reply', 'draft')
    if turn[1] == reply then
      call('HDEL', TURN, 'reply', 'until')
    end
    if turn[2] == reply then
      call('HDEL', TURN, 'draft', 'attempt', 'to')
      call('DEL', DRAFT)
    end
  end

  -- What an edit or a deletion does beside taking its place.
  function change(kind, of, reply, seq_text)
    if kind == '-' then
      -- Any answer may have been told the text.
      for _, field in ipairs(call('HKEYS', TURN)) do
        if sub(field, 1, 1) == 'f' then
          interrupt(sub(field, 2))
        end
      end
      call('HDEL', TURN, 'draft', 'attempt', 'to')
      call('DEL', DRAFT)
    else
      interrupt(reply)
      local other = call('HMGET', TURN, 'draft', 'to')
      if other[1] and other[2] == uuid_bytes(of) then
        interrupt(other[1])
      end
    end
    call('HSET', CHANGES, of, (kind == '-' and 'd' or '') .. seq_text)
    call('PEXPIRE', CHANGES, STREAM_IDLE_MS)
  end

  -- A frame without its text, as Message::frame writes it of a deleted message, and of an edit of one. What stands before
  -- the text has no quotation mark in it but its own, and within the text each has a backslash before it.
  local function without_text(frame)
    local before = string.find(frame, ',"message":"', 1, true)
    if not before then
      return frame
    end
    local head = sub(frame, 1, before - 1) .. ',"message":""'
    if sub(frame, 1, 16) == '{"type":"edited"' then
      return head .. '}'
    end
    local reply_to = string.match(frame, ',"reply_to":"[%x%-]+"}$')
    return head .. (reply_to and sub(reply_to, 1, -2) or '') .. ',"deleted":true}'
  end

  -- What erases takes Redis from everybody for as long as it copies the stream. So of the time in one room it may have one part in
  -- so many, a second of it ahead, and whoever would delete more is told when to come again. By when that is made good
  -- stands beside the changes, under no message's id.
  local ERASED_UNTIL, ERASING_TIMES, ERASING_AHEAD_US = '', 25, 1000000

  function too_soon(now)
    local wait_us = tonumber(call('HGET', CHANGES, ERASED_UNTIL) or 0) - now - ERASING_AHEAD_US
    return wait_us > 0 and 'later ' .. string.format('%.0f', wait_us) or nil
  end

  -- The id of the message whose text a frame has: its own, or of the one that it edits.
  function changed_by(frame)
    local is_edit = sub(frame, 1, 16) == '{"type":"edited"'
    return string.match(frame, is_edit and '"of":"([%x%-]+)"' or '"id":"([%x%-]+)"')
  end

  -- Takes the text of these messages, and of their edits, out of the stream. An entry that is deleted from a stream stays in
  -- its memory, and in every copy, as long as those beside it, and none can be put in its place: so the stream is
  -- written anew, with all other entries as they are.
  function erase(messages, now)
    local entries, found, bytes = call('XRANGE', STREAM, '-', '+'), false, 0
    for _, entry in ipairs(entries) do
      local fields = entry[2]
      local frame = fields[4]
      bytes = bytes + #frame
      if messages[changed_by(frame)] then
        fields[4], found = without_text(frame), true
      end
    end
    -- About what it takes: 2 µs an entry, and 300 bytes a µs.
    local cost_us = #entries * 2 + bytes / 300
    local since = math.max(now, tonumber(call('HGET', CHANGES, ERASED_UNTIL) or 0))
    call('HSET', CHANGES, ERASED_UNTIL, string.format('%.0f', since + cost_us * ERASING_TIMES))
    if not found then
      return
    end
    local left_ms = call('PTTL', STREAM)
    call('DEL', STREAM)
    for _, entry in ipairs(entries) do
      call('XADD', STREAM, entry[1], unpack(entry[2]))
    end
    call('PEXPIRE', STREAM, left_ms > 0 and left_ms or STREAM_IDLE_MS)
  end

  -- Those that changed before the oldest that the stream has are told by the database.
  function forget_old_changes()
    local most = 2 * call('XLEN', STREAM) + STREAM_MESSAGES
    if call('HLEN', CHANGES) < most then
      return
    end
    local oldest = call('XRANGE', STREAM, '-', '+', 'COUNT', 1)[1]
    local from = oldest and tonumber(string.match(oldest[1], '^%d+')) or 0
    local all = call('HGETALL', CHANGES)
    for at = 1, #all, 2 do
      if all[at] ~= ERASED_UNTIL and tonumber(string.match(all[at + 1], '%d+')) < from then
        call('HDEL', CHANGES, all[at])
      end
    end
  end
end
