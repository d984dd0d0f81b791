-- Keeps a piece of a reply that is being written, and publishes it (Turns::draft).
-- KEYS  turn, draft
-- ARGV  reply (16 bytes), fence, attempt, request (16 bytes), where the piece begins in bytes, the piece, its frame, channel
-- The text lies in a string of its own, in which a piece is written at its offset: one that comes twice changes
-- nothing.
local reply, offset = ARGV[1], tonumber(ARGV[5])
if redis.call('HGET', KEYS[1], 'f' .. reply) ~= ARGV[2] then
  return 'fenced'
end
local known = redis.call('HMGET', KEYS[1], 'draft', 'attempt')
if known[1] ~= reply or known[2] ~= ARGV[3] then
  if offset > 0 then
    return 'from start'
  end
  redis.call('HSET', KEYS[1], 'draft', reply, 'attempt', ARGV[3], 'to', ARGV[4])
  -- There, if empty: whoever comes while the model thinks is told that it does.
  redis.call('SET', KEYS[2], '')
elseif redis.call('STRLEN', KEYS[2]) < offset then
  return 'from start'
end
redis.call('SETRANGE', KEYS[2], offset, ARGV[6])
redis.call('PEXPIRE', KEYS[2], DRAFT_KEPT_MS)
redis.call('PEXPIRE', KEYS[1], STREAM_IDLE_MS)
redis.call('SPUBLISH', ARGV[8], 'e' .. ARGV[7])
return 'shown'
