-- The reply that is being written in a room, as far as it has come (Turns::draft_snapshot).
-- KEYS  turn, draft
local known = redis.call('HMGET', KEYS[1], 'draft', 'attempt', 'to')
local text = redis.call('GET', KEYS[2])
if not known[1] or not text then
  return {}
end
return {known[1], known[2], known[3], text}
