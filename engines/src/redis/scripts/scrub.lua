-- Takes out of the stream the text of messages that the database has as deleted and this server does not: a server that
-- had their deletion is lost (Live::scrub). Behind changes.lua. Their deletions get no place any more, since others have
-- one behind it.
-- KEYS  stream, ids, turn queue, turn, draft, changes
-- ARGV  for each message: its id as text, the seq of its deletion
-- Returns how many were there.
local call = redis.call
local unknown, count = {}, 0
for at = 1, #ARGV, 2 do
  if string.sub(call('HGET', KEYS[6], ARGV[at]) or '', 1, 1) ~= 'd' then
    unknown[ARGV[at]], count = ARGV[at + 1], count + 1
  end
end
if count == 0 then
  return 0
end
local found, deletions = {}, 0
for _, entry in ipairs(call('XRANGE', KEYS[1], '-', '+')) do
  local id = changed_by(entry[2][4])
  if unknown[id] then
    found[id] = true
    change('-', id, nil, unknown[id])
    unknown[id], deletions = nil, deletions + 1
  end
end
if deletions > 0 then
  local time = call('TIME')
  erase(found, time[1] * 1000000 + time[2])
  forget_old_changes()
end
return deletions
