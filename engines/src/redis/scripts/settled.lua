-- Takes a room off the list, unless it was marked again.
-- KEYS  unsettled
-- ARGV  room, mark
local mark = redis.call('ZSCORE', KEYS[1], ARGV[1])
if mark and tonumber(mark) == tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
