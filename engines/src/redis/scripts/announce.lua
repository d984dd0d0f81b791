-- Puts down who is in a room on one process, and shows who is there in all if that has changed (Live::announce).
-- KEYS  present
-- ARGV  process, its users with commas (empty: none), room, time to live in ms, channel
-- The hash has a field for each process, `p` and its name, with the time in µs until when it holds and the names; and
-- a field `shown` with the names as they were last shown.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local field = 'p' .. ARGV[1]
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], field)
else
  redis.call('HSET', KEYS[1], field, string.format('%.0f ', now + ARGV[4] * 1000) .. ARGV[2])
end

local shown, users, seen = '', {}, {}
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  if all[i] == 'shown' then
    shown = all[i + 1]
  else
    local holds, names = string.match(all[i + 1], '^(%d+) (.*)$')
    if tonumber(holds) <= now then
      redis.call('HDEL', KEYS[1], all[i])
    else
      for name in string.gmatch(names, '[^,]+') do
        if not seen[name] then
          seen[name] = true
          users[#users + 1] = name
        end
      end
    end
  end
end
table.sort(users)
for i = #users, PRESENCE_MAX_USERS + 1, -1 do
  users[i] = nil
end

local present = table.concat(users, ',')
if present ~= shown then
  redis.call('HSET', KEYS[1], 'shown', present)
  local list = #users == 0 and '[]' or '["' .. table.concat(users, '","') .. '"]'
  redis.call('SPUBLISH', ARGV[5], 'e{"type":"presence","room":"' .. ARGV[3] .. '","users":' .. list .. '}')
end
if #users == 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return users
