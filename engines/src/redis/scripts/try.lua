-- Does what appending does, with one entry of nobody's, to see whether it is allowed and there is room for it.
-- KEYS  stream, ids; ARGV  channel, ms after which both are forgotten
redis.call('ZADD', KEYS[2], 0, 'tried')
redis.call('XADD', KEYS[1], 'MAXLEN', 1, '*', 'sender', '', 'frame', '')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('SPUBLISH', ARGV[1], '')
return redis.call('TIME')[1]
