-- Takes a room off the list, unless it has another version by now.
-- KEYS  unsettled
-- ARGV  room, version
local version = redis.call('ZSCORE', KEYS[1], ARGV[1])
if version and tonumber(version) == tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
end
return 0
