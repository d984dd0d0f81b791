-- The rooms that have been on the list longest, each with its version, or 0 if that is too young to be settled by; and
-- those that were settled in an earlier round of comparing, each with the version that it is on that list by. Begins with
-- the round, a server's time in µs. Where a process asks that is going to look at them for all, it is given only those that
-- no other process has, and has them until it asks again, or for the time of a lease.
-- KEYS  unsettled, settled (by the time of that, or the round if that is later), round, looks: a hash that has, by room,
--       the time in µs until which a process has it, and the process
-- ARGV  how many, the age in µs from which a version can be settled, the age in µs at which it is forgotten, the server
--       that they are going to be compared with; and perhaps the process, the ms of its lease, and the rooms that it could
--       not look at: others may
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local limit, process = tonumber(ARGV[1]), ARGV[5]
local known = redis.call('HMGET', KEYS[3], 'server', 'round')
local round = tonumber(known[2] or '0')
if known[1] ~= ARGV[4] then
  -- Behind all that is settled, also where the clock is not: the server that kept it before may have been ahead.
  local newest = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2] or '0')
  round = math.max(now, round + 1, newest + 1)
  redis.call('HSET', KEYS[3], 'server', ARGV[4], 'round', string.format('%.0f', round))
end
local forgotten = string.format('%.0f', now - ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', forgotten)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', forgotten)

local could_not = {}
for at = 7, #ARGV do
  local look = redis.call('HGET', KEYS[4], ARGV[at])
  if look and string.match(look, ' (.*)$') == process then
    redis.call('HDEL', KEYS[4], ARGV[at])
  end
  could_not[ARGV[at]] = true
end

local function is_free(room)
  if not process then
    return true
  end
  local holds, by = string.match(redis.call('HGET', KEYS[4], room) or '', '^(%d+) (.*)$')
  return not could_not[room] and (not holds or by == process or tonumber(holds) <= now)
end

-- Those of a list that are free, at most so many. It is not looked through for ever: Redis does nothing else meanwhile.
local function take(most, page)
  local taken, from = {}, 0
  while #taken < 2 * most and from < LOOKED_THROUGH_MAX do
    local count = math.max(most, 100)
    local found = page(from, count)
    for at = 1, #found, 2 do
      if #taken < 2 * most and is_free(found[at]) then
        taken[#taken + 1] = found[at]
        taken[#taken + 1] = found[at + 1]
      end
    end
    if #found < 2 * count then
      break
    end
    from = from + count
  end
  return taken
end

local before = string.format('(%.0f', round)
local again = take(math.ceil(limit / 2), function(from, count)
  return redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', before, 'WITHSCORES', 'LIMIT', from, count)
end)
local rooms = take(limit - #again / 2, function(from, count)
  return redis.call('ZRANGE', KEYS[1], from, from + count - 1, 'WITHSCORES')
end)
for i = 2, #rooms, 2 do
  local version = tonumber(rooms[i])
  rooms[i] = version <= now - ARGV[2] and string.format('%.0f', version) or '0'
end
for i = 1, #again, 2 do
  rooms[#rooms + 1] = again[i]
  rooms[#rooms + 1] = string.format('%.0f', tonumber(again[i + 1]))
end
if process and #rooms > 0 then
  local look = string.format('%.0f %s', now + ARGV[6] * 1000, process)
  for i = 1, #rooms, 2 do
    redis.call('HSET', KEYS[4], rooms[i], look)
  end
  redis.call('PEXPIRE', KEYS[4], ARGV[6])
end
return { string.format('%.0f', round), rooms }
