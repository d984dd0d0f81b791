-- Forgets all of a room that was deleted (Live::erase). What is left is one id, of the end of time: behind it nothing is
-- appended.
-- KEYS  stream, ids, turn queue, turn, draft, present, changes
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7])
redis.call('ZADD', KEYS[2], ROOM_GONE, 'gone')
redis.call('PEXPIRE', KEYS[2], STREAM_IDLE_MS)
return 1
