-- What people, rooms and the server have used of the models, and what is held for calls under way (Budgets).
-- KEYS  day, month, calls, until, held, about
-- ARGV  what to do, now in µs, the number of the day, of the month, and, but for 'spent' and 'fill', the budgets: six words,
--       by person, room, server, each for the day and the month; then what that needs
--
-- day, month  of each party what it has used, `calls in out cost`; `at`: the period's number. A party is `u:NAME` for a
--             person, `r:NAME` for a room, `s:` for the server
-- calls       of each call: `held`, `lapsed` or `settled`, who, where, and the most that it can use
-- until       the ids of calls, by when they lapse or are forgotten
-- held        of each party what is held for it
-- about       `whole`: all that was used is in day and month; `filled`: until when somebody is to see to that; `limits`, as a
--             worker said last; `reached`: what was not told yet
local CALLS, UNTIL, HELD, ABOUT = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local PERIODS = {{key = KEYS[1], number = tonumber(ARGV[3])}, {key = KEYS[2], number = tonumber(ARGV[4])}}
local task, now = ARGV[1], tonumber(ARGV[2])

local function whole(number)
  return string.format('%.0f', number)
end

local function read(text)
  local sums = {}
  for number in string.gmatch(text or '', '%d+') do
    sums[#sums + 1] = tonumber(number)
  end
  for i = #sums + 1, 4 do
    sums[i] = 0
  end
  return sums
end

local function written(sums)
  return whole(sums[1]) .. ' ' .. whole(sums[2]) .. ' ' .. whole(sums[3]) .. ' ' .. whole(sums[4])
end

-- So much more, and so much less.
local function plus(sums, more, less)
  local result = {}
  for i = 1, 4 do
    result[i] = math.max(0, sums[i] + (more and more[i] or 0) - (less and less[i] or 0))
  end
  return result
end

local function used(period, party)
  return read(redis.call('HGET', period.key, party) or '')
end

if task == 'spent' then
  local answer = {redis.call('HGET', ABOUT, 'whole') or '0', redis.call('HGET', ABOUT, 'limits') or ''}
  for i = 5, 7 do
    for _, period in ipairs(PERIODS) do
      local is_now = tonumber(redis.call('HGET', period.key, 'at') or -1) >= period.number
      answer[#answer + 1] = is_now and redis.call('HGET', period.key, ARGV[i]) or ''
    end
  end
  return answer
end

for _, period in ipairs(PERIODS) do
  if tonumber(redis.call('HGET', period.key, 'at') or -1) < period.number then
    redis.call('UNLINK', period.key)
    redis.call('HSET', period.key, 'at', whole(period.number))
  end
  redis.call('PEXPIRE', period.key, 40 * 86400000)
end

if task == 'fill' then
  if redis.call('HGET', ABOUT, 'whole') ~= '1' then
    for i = 5, #ARGV, 3 do
      local period = PERIODS[tonumber(ARGV[i])]
      redis.call('HSET', period.key, ARGV[i + 1], written(plus(used(period, ARGV[i + 1]), read(ARGV[i + 2]))))
    end
    redis.call('HSET', ABOUT, 'whole', '1')
    redis.call('HDEL', ABOUT, 'filled')
  end
  return {'filled'}
end

-- Of each period and party: the limit, and whether it is of money.
local LIMITS = {}
for i = 0, 5 do
  local unit, limit = string.match(ARGV[5 + i], '^([tm])(%d+)$')
  LIMITS[#LIMITS + 1] = {limit = tonumber(limit or 0), is_money = unit == 'm'}
end

local function parties(user, room)
  return {'u:' .. user, 'r:' .. room, 's:'}
end

local function in_unit(sums, limit)
  return limit.is_money and sums[4] or sums[2] + sums[3]
end

local function release(user, room, most)
  for _, party in ipairs(parties(user, room)) do
    local left = plus(read(redis.call('HGET', HELD, party) or ''), nil, most)
    if left[1] == 0 then
      redis.call('HDEL', HELD, party)
    else
      redis.call('HSET', HELD, party, written(left))
    end
  end
end

local function spend(user, room, more, less)
  local reached = ''
  for i, party in ipairs(parties(user, room)) do
    for j, period in ipairs(PERIODS) do
      local before = used(period, party)
      local after = plus(before, more, less)
      redis.call('HSET', period.key, party, written(after))
      local limit = LIMITS[2 * (i - 1) + j]
      if limit.limit > 0 then
        local was, is = 100 * in_unit(before, limit), 100 * in_unit(after, limit)
        for _, percent in ipairs(TOLD_AT) do
          local share = limit.limit * percent
          if was < share and is >= share then
            reached = reached .. j .. ' ' .. percent .. ' ' .. party .. '\n'
          end
        end
      end
    end
  end
  if reached ~= '' then
    redis.call('HSET', ABOUT, 'reached', (redis.call('HGET', ABOUT, 'reached') or '') .. reached)
  end
end

local function enter(id, state, user, room, most, til)
  redis.call('HSET', CALLS, id, state .. ' ' .. user .. ' ' .. room .. ' ' .. most)
  redis.call('ZADD', UNTIL, whole(til), id)
end

local function call(id)
  local text = redis.call('HGET', CALLS, id)
  if text then
    return string.match(text, '^(%S*) (%S*) (%S*) (.*)$')
  end
end

local function forget(id)
  redis.call('HDEL', CALLS, id)
  redis.call('ZREM', UNTIL, id)
end

for _, id in ipairs(redis.call('ZRANGEBYSCORE', UNTIL, '-inf', whole(now), 'LIMIT', 0, 1000)) do
  local state, user, room, most = call(id)
  if state == 'held' then
    release(user, room, read(most))
    spend(user, room, read(most))
    enter(id, 'lapsed', user, room, most, now + LAPSED_KEPT_US)
  else
    forget(id)
  end
end

local is_whole = redis.call('HGET', ABOUT, 'whole') == '1'

if task == 'keep' then
  redis.call('HSET', ABOUT, 'limits', table.concat(ARGV, ' ', 5, 10))
  if is_whole then
    return {'whole'}
  elseif tonumber(redis.call('HGET', ABOUT, 'filled') or 0) > now then
    return {'being filled'}
  end
  redis.call('HSET', ABOUT, 'filled', whole(now + FILLS_WITHIN_US))
  return {'yours to fill'}
end

-- The index of a budget that is used up, the one that opens last; and whether one is full with what is held.
local function standing(user, room)
  local out, is_full = 0, false
  for i, party in ipairs(parties(user, room)) do
    local held = read(redis.call('HGET', HELD, party) or '')
    for j, period in ipairs(PERIODS) do
      local index = 2 * (i - 1) + j
      local limit = LIMITS[index]
      if limit.limit > 0 then
        local sums = used(period, party)
        if in_unit(sums, limit) >= limit.limit and (out == 0 or out % 2 == 1 and j == 2) then
          out = index
        end
        is_full = is_full or in_unit(plus(sums, held), limit) >= limit.limit
      end
    end
  end
  return out, is_full
end

if task == 'look' then
  return {'out', (standing(ARGV[11], ARGV[12]))}
end

local id, user, room, most = ARGV[11], ARGV[12], ARGV[13], ARGV[14]
local state, _, _, held = call(id)

if task == 'hold' then
  if state then
    return {'yes'}
  elseif not is_whole then
    return {'not known'}
  end
  local out, is_full = standing(user, room)
  if out > 0 then
    return {'out', out}
  elseif is_full then
    return {'wait'}
  end
  for _, party in ipairs(parties(user, room)) do
    redis.call('HSET', HELD, party, written(plus(read(redis.call('HGET', HELD, party) or ''), read(most))))
  end
  enter(id, 'held', user, room, most, math.max(now, tonumber(ARGV[15])))
  return {'yes'}
end

-- The rest is 'settle': with what it has used, or nothing if it never went out.
local cost = ARGV[15]
if state == 'held' then
  release(user, room, read(held))
  if cost == '' then
    forget(id)
  end
elseif state == 'lapsed' then
  spend(user, room, read(cost), read(held))
end
if cost ~= '' and (state == 'held' or not state) then
  spend(user, room, read(cost))
end
if cost ~= '' or state == 'lapsed' then
  enter(id, 'settled', user, room, most, now + SETTLED_KEPT_US)
end
local reached = redis.call('HGET', ABOUT, 'reached') or ''
redis.call('HDEL', ABOUT, 'reached')
return {reached}
