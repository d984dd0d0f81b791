-- Releases a turn without a reply (Turns::release_turn).
-- KEYS  turn queue, turn
-- ARGV  reply (16 bytes), holder, `for good` if it leaves the queue as well
local reply = ARGV[1]
local number, by = string.match(redis.call('HGET', KEYS[2], 'f' .. reply) or '0 ', '^(%d+ )(.*)$')
if by ~= ARGV[2] then
  return 0
end
if redis.call('HGET', KEYS[2], 'reply') == reply then
  redis.call('HDEL', KEYS[2], 'reply', 'until')
end
if ARGV[3] == 'for good' then
  redis.call('HDEL', KEYS[2], 'f' .. reply, 's' .. reply, 'w' .. reply)
  redis.call('ZREM', KEYS[1], reply)
else
  redis.call('HSET', KEYS[2], 'f' .. reply, number)
end
return 1
