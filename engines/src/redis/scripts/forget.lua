-- Forgets what a room's stream has up to a place, which is gone by age (Live::forget_until). The ids stay, since the newest of
-- them is where the room's order goes on, and they say nothing.
-- KEYS  stream, changes
-- ARGV  the place
local call, STREAM, CHANGES, until_seq = redis.call, KEYS[1], KEYS[2], tonumber(ARGV[1])
local first = call('XRANGE', STREAM, '-', '+', 'COUNT', 1)[1]
if not first or tonumber(string.match(first[1], '^%d+')) > until_seq then
  return 0
end
-- An entry that is taken out of a stream stays in its memory, and in every copy, as long as those beside it: so what is
-- left is written anew, as it is after a deletion (changes.lua).
local left = call('XRANGE', STREAM, string.format('%.0f-0', until_seq + 1), '+')
local left_ms = call('PTTL', STREAM)
call('DEL', STREAM)
for _, entry in ipairs(left) do
  call('XADD', STREAM, entry[1], unpack(entry[2]))
end
if #left > 0 then
  call('PEXPIRE', STREAM, left_ms > 0 and left_ms or STREAM_IDLE_MS)
end
local changes = call('HGETALL', CHANGES)
for at = 1, #changes, 2 do
  if changes[at] ~= '' and tonumber(string.match(changes[at + 1], '%d+')) <= until_seq then
    call('HDEL', CHANGES, changes[at])
  end
end
return 1
