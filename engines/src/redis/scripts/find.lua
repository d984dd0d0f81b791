-- The frame of the message with an id, if the stream still has it.
-- KEYS  stream, ids
-- ARGV  id (16 bytes)
local known = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not known then
  return false
end
local entry_id = string.format('%.0f-0', known)
local entry = redis.call('XRANGE', KEYS[1], entry_id, entry_id)[1]
return entry and entry[2][4] or false
