-- What all workers together may ask of one model (Quota). All that is done with it is this one script.
-- KEYS  calls, leases, waiting, about, sums
-- ARGV  what to do, id or time, and what that needs
--
-- calls    ids of the calls in the window, by when they began to count
-- leases   ids of those that were granted and have not begun, by when they lapse
-- waiting  ids of the calls that wait, by when they are forgotten
-- about    of each id: tokens that count, tokens as estimated, user, room, since when it waits
-- sums     of the calls in the window: `tokens`; of each user and room `n...` calls and `t...` tokens; `users`, `rooms`.
--          Besides: `pause` until when, `call` and `token` when the next paced one is due, `ratio` of costs to
--          estimates, `day` and its `daily` calls
-- Times are µs of this server.
local CALLS, LEASES, WAITING, ABOUT, SUMS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local task, id = ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local function whole(number)
  return string.format('%.0f', number)
end

local function get(field)
  return tonumber(redis.call('HGET', SUMS, field) or 0)
end

local function set(field, value)
  redis.call('HSET', SUMS, field, value)
end

local function add(field, by)
  local sum = redis.call('HINCRBY', SUMS, field, whole(by))
  if sum <= 0 then
    redis.call('HDEL', SUMS, field)
  end
  return sum
end

local function about(id)
  local text = redis.call('HGET', ABOUT, id) or ''
  local tokens, estimate, user, room, since = string.match(text, '^(%d+) (%d+) (%S*) (%S*) (%d+)$')
  return tonumber(tokens or 0), tonumber(estimate or 0), user or '', room or '', tonumber(since or now)
end

local function note(id, tokens, estimate, user, room, since)
  redis.call('HSET', ABOUT, id, whole(tokens) .. ' ' .. whole(estimate) .. ' ' .. user .. ' ' .. room .. ' ' .. whole(since))
end

-- Puts so many calls and tokens to the sums, or takes them off.
local function count(calls, tokens, user, room)
  add('tokens', tokens)
  for kind, name in pairs({users = 'u:' .. user, rooms = 'r:' .. room}) do
    local sum = add('n' .. name, calls)
    add('t' .. name, tokens)
    if calls > 0 and sum == calls then
      add(kind, 1)
    elseif calls < 0 and sum <= 0 then
      add(kind, -1)
    end
  end
end

-- Moves the times at which the next paced call is due.
local function pace(calls, tokens)
  if CALLS_MAX > 0 and calls ~= 0 then
    set('call', whole(math.max(get('call'), calls > 0 and now or 0) + calls * WINDOW_US / CALLS_MAX))
  end
  if TOKENS_MAX > 0 and tokens ~= 0 then
    set('token', whole(math.max(get('token'), tokens > 0 and now or 0) + tokens * WINDOW_US / TOKENS_MAX))
  end
end

local function leave(id)
  local tokens, _, user, room = about(id)
  redis.call('ZREM', CALLS, id)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', ABOUT, id)
  count(-1, -tokens, user, room)
  return tokens
end

local function give_back(id)
  pace(-1, -leave(id))
  if get('daily') > 0 then
    add('daily', -1)
  end
end

local function gone(key, before)
  return redis.call('ZRANGEBYSCORE', key, '-inf', whole(before), 'LIMIT', 0, 1000)
end

for _, lapsed in ipairs(gone(LEASES, now)) do
  give_back(lapsed)
end
for _, old in ipairs(gone(CALLS, now - WINDOW_US)) do
  leave(old)
end
for _, forgotten in ipairs(gone(WAITING, now)) do
  redis.call('ZREM', WAITING, forgotten)
  redis.call('HDEL', ABOUT, forgotten)
end

local function keep()
  for _, key in ipairs(KEYS) do
    redis.call('PEXPIRE', key, 2 * 86400000)
  end
end

if task == 'pause' then
  set('pause', whole(math.max(get('pause'), now + tonumber(ARGV[2]))))
  keep()
  return {}
end

local is_there = redis.call('ZSCORE', CALLS, id)

if task == 'begins' then
  if is_there and redis.call('ZREM', LEASES, id) == 1 then
    redis.call('ZADD', CALLS, whole(now), id)
  end
  return {is_there and 'there' or 'gone'}
elseif task == 'cost' then
  if is_there then
    local counted, estimate, user, room, since = about(id)
    local cost = tonumber(ARGV[3])
    note(id, cost, estimate, user, room, since)
    count(0, cost - counted, user, room)
    pace(0, cost - counted)
    local ratio = tonumber(redis.call('HGET', SUMS, 'ratio') or 1)
    ratio = ratio + LEARNS * (cost / math.max(estimate, 1) - ratio)
    set('ratio', string.format('%.4f', math.min(math.max(ratio, RATIO_MIN), RATIO_MAX)))
  end
  return {is_there and 'there' or 'gone'}
elseif task == 'given back' then
  if is_there then
    give_back(id)
  elseif redis.call('ZREM', WAITING, id) == 1 then
    redis.call('HDEL', ABOUT, id)
  end
  return {is_there and 'there' or 'gone'}
end

-- The rest is 'reserve': estimate, user, room, how far the provider's day is behind UTC in µs.
local estimate, user, room, behind = tonumber(ARGV[3]), ARGV[4], ARGV[5], tonumber(ARGV[6])
local used, used_tokens = redis.call('ZCARD', CALLS), get('tokens')
if is_there then
  return {'granted', whole(used), whole(used_tokens)}
end
local pause = get('pause') - now
if pause > 0 then
  return {'wait', whole(pause), whole(pause)}
end
if CALLS_MAX + TOKENS_MAX + DAILY_MAX == 0 then
  return {'granted', '0', '0'}
end

local DAY_US = 86400000000
local day = math.floor((now - behind) / DAY_US)
if get('day') ~= day then
  set('day', whole(day))
  redis.call('HDEL', SUMS, 'daily')
end

local tokens = math.ceil(estimate * tonumber(redis.call('HGET', SUMS, 'ratio') or 1))
if TOKENS_MAX > 0 then
  -- A prompt larger than the quota goes when it is alone.
  tokens = math.min(tokens, TOKENS_MAX)
end

-- Who is before this one: those whose users and rooms had less, each counted with what they wait for besides.
local _, _, _, _, since = about(id)
local waiters = {{id = id, tokens = tokens, user = 'u:' .. user, room = 'r:' .. room, since = since}}
for _, other in ipairs(redis.call('ZRANGE', WAITING, 0, -1)) do
  if other ~= id then
    local tokens, _, user, room, since = about(other)
    waiters[#waiters + 1] = {id = other, tokens = tokens, user = 'u:' .. user, room = 'r:' .. room, since = since}
  end
end
local mine = waiters[1]
table.sort(waiters, function(a, b)
  return a.since < b.since or a.since == b.since and a.id < b.id
end)
local had = {}
local function had_by(name)
  if not had[name] then
    had[name] = {calls = get('n' .. name), tokens = get('t' .. name)}
  end
  return had[name]
end
for _, waiter in ipairs(waiters) do
  waiter.had = 0
  for _, party in ipairs({had_by(waiter.user), had_by(waiter.room)}) do
    if CALLS_MAX > 0 then
      waiter.had = math.max(waiter.had, party.calls / CALLS_MAX)
    end
    if TOKENS_MAX > 0 then
      waiter.had = math.max(waiter.had, party.tokens / TOKENS_MAX)
    end
    party.calls, party.tokens = party.calls + 1, party.tokens + waiter.tokens
  end
end
local before, tokens_before = 0, 0
local is_before = true
for _, waiter in ipairs(waiters) do
  if waiter == mine then
    is_before = false
  elseif waiter.had < mine.had or waiter.had == mine.had and is_before then
    before, tokens_before = before + 1, tokens_before + waiter.tokens
  end
end

-- When it is due: at once within the shares of its user and its room, else at the pace of the whole.
local function within_share(name, parties)
  local share, calls = 1 / (get(parties) + SHARES_KEPT_FREE), get('n' .. name)
  return calls == 0
    or (CALLS_MAX == 0 or calls + 1 <= math.ceil(CALLS_MAX * share))
    and (TOKENS_MAX == 0 or get('t' .. name) + tokens <= TOKENS_MAX * share)
end
local wait = 0
if not (within_share(mine.user, 'users') and within_share(mine.room, 'rooms')) then
  local slack = PACE_SLACK * WINDOW_US
  if CALLS_MAX > 0 then
    wait = math.max(wait, get('call') - slack + before * WINDOW_US / CALLS_MAX - now)
  end
  if TOKENS_MAX > 0 then
    wait = math.max(wait, get('token') - slack + tokens_before * WINDOW_US / TOKENS_MAX - now)
  end
end

-- And when there is room for it in the window, after those before it.
local fits = true
local too_many = used + before + 1 - CALLS_MAX
if CALLS_MAX > 0 and too_many > 0 then
  fits = false
  local laps = math.floor((too_many - 1) / CALLS_MAX)
  local index = too_many - 1 - laps * CALLS_MAX
  local leaves = tonumber(redis.call('ZRANGE', CALLS, index, index, 'WITHSCORES')[2] or now)
  wait = math.max(wait, leaves + WINDOW_US * (laps + 1) - now)
end
too_many = used_tokens + tokens_before + tokens - TOKENS_MAX
if TOKENS_MAX > 0 and too_many > 0 then
  fits = false
  local leaves = now - WINDOW_US
  local oldest = redis.call('ZRANGE', CALLS, 0, 255, 'WITHSCORES')
  for i = 1, #oldest, 2 do
    if too_many > 0 then
      leaves = tonumber(oldest[i + 1])
      too_many = too_many - about(oldest[i])
    end
  end
  wait = math.max(wait, leaves + WINDOW_US * (1 + math.max(too_many, 0) / TOKENS_MAX) - now)
end
if DAILY_MAX > 0 and get('daily') + before >= DAILY_MAX then
  fits = false
  wait = math.max(wait, (day + 1) * DAY_US + behind - now)
end

redis.call('ZREM', WAITING, id)
if fits and wait <= 0 then
  redis.call('ZADD', CALLS, whole(now), id)
  redis.call('ZADD', LEASES, whole(now + LEASE_US), id)
  note(id, tokens, estimate, user, room, now)
  count(1, tokens, user, room)
  pace(1, tokens)
  add('daily', 1)
  keep()
  return {'granted', whole(used + 1), whole(used_tokens + tokens)}
end
local again = math.min(wait, math.max(ASK_AGAIN_US, #waiters * ASK_AGAIN_EACH_US))
again = math.max(again, ASK_AGAIN_MIN_US)
redis.call('ZADD', WAITING, whole(now + again + GRACE_US), id)
note(id, tokens, estimate, user, room, since)
keep()
return {'wait', whole(math.max(wait, again)), whole(again)}
