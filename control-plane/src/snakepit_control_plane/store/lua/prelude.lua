-- Put before every script. Session scripts: KEYS = session, state, ids by expiry, ids by name, bindings by id, bound sessions that
-- have expired, owners by id, how many each owner has, bytes by id, bytes of each owner; all of one hash tag.
-- Times are milliseconds of Redis' own clock. Scripts end with {code, ...}: 1 done, 0 refused, -1 no such session, -2 stale epoch, -4 another life,
-- -5 its owner has enough, -6 its owner has enough bytes.
local function clock()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function keep(key, ms)
  if redis.call('PTTL', key) < ms then redis.call('PEXPIRE', key, ms) end
end

-- So many fewer of the owner's; whoever has none is forgotten. A server that is full may refuse to count: then the owner's count begins
-- anew, and is too low for a while.
local function fewer(key, owner, by)
  local left = redis.pcall('HINCRBY', key, owner, 0 - by)
  if type(left) == 'number' and left > 0 then return end
  redis.call('HDEL', key, owner)
  -- Without sessions there are no bytes, whatever was counted.
  if key == KEYS[8] then redis.call('HDEL', KEYS[10], owner) end
end

-- Where it is lost which session holds what, an owner's bytes could never be given back.
local function forget_lost_bytes()
  if redis.call('EXISTS', KEYS[9]) == 0 then redis.call('DEL', KEYS[10]) end
end

-- They are nobody's any more, nor are their bytes.
local function disown(ids)
  forget_lost_bytes()
  local sizes = redis.call('HMGET', KEYS[9], unpack(ids))
  for i, owner in ipairs(redis.call('HMGET', KEYS[7], unpack(ids))) do
    if owner then
      fewer(KEYS[10], owner, sizes[i] or 0)
      fewer(KEYS[8], owner, 1)
      redis.call('HDEL', KEYS[7], ids[i])
    end
    -- Also of nobody's: who makes a session of that name next would be given back what it never had.
    if sizes[i] then redis.call('HDEL', KEYS[9], ids[i]) end
  end
end

-- The session holds so many more bytes for its owner, or fewer; those of who has no name are not counted. Only after another write.
local function charge(id, owner, bytes)
  if not owner or owner == '' then return end
  forget_lost_bytes()
  local there = tonumber(redis.call('HGET', KEYS[9], id) or 0)
  local more = math.max(bytes, -there)
  -- A count that only this would make has no end: a deletion doesn't slide.
  if more == 0 then return end
  redis.pcall('HSET', KEYS[9], id, there + more)
  redis.pcall('HINCRBY', KEYS[10], owner, more)
end

-- What the owner's sessions hold. It writes nothing: the first write of a script is the one that a full store refuses.
local function held(owner)
  if redis.call('EXISTS', KEYS[9]) == 0 then return 0 end
  return tonumber(redis.call('HGET', KEYS[10], owner) or 0)
end

-- What a bound session's worker is to be told is kept until somebody takes it, a minute at most.
local function sweep(now)
  -- A key is there up to the end of the millisecond in which it expires: who uses it then would have a session that is nobody's.
  local gone = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', '(' .. now, 'LIMIT', 0, 1000)
  if #gone == 0 then return end
  redis.call('ZREM', KEYS[3], unpack(gone))
  redis.call('ZREM', KEYS[4], unpack(gone))
  disown(gone)
  for i, binding in ipairs(redis.call('HMGET', KEYS[5], unpack(gone))) do
    if binding then
      -- A full server refuses it: the worker is not told then, and its quota frees up all the same.
      redis.pcall('RPUSH', KEYS[6], gone[i] .. '\n' .. binding)
      redis.call('HDEL', KEYS[5], gone[i])
    end
  end
  redis.call('LTRIM', KEYS[6], -10000, -1)
  redis.call('PEXPIRE', KEYS[6], 60000)
end

local function slide(now)
  local found = redis.call('HMGET', KEYS[1], 'ttl', 'id')
  local ttl = tonumber(found[1])
  -- Who reads such a record is told that it can't be read.
  if not (ttl and found[2]) then return end
  -- First what a full store allows: after one write a script may go on, and a session in use must not expire for want of memory.
  redis.call('PEXPIRE', KEYS[1], ttl)
  redis.call('PEXPIRE', KEYS[2], ttl)
  redis.call('HSET', KEYS[1], 'last_used', now)
  redis.call('ZADD', KEYS[3], now + ttl, found[2])
  redis.call('ZADD', KEYS[4], 0, found[2])
  -- Longer than the session, so that its end is noticed.
  for _, i in ipairs({3, 4, 5, 7, 8, 9, 10}) do keep(KEYS[i], ttl + 60000) end
end

-- The session's latest moves, with one more under the next epoch: lines of 'epoch, time, why, worker before', tabs between, the last first.
local function moved(now, why, most)
  local there = redis.call('HMGET', KEYS[1], 'epoch', 'worker', 'moves')
  local moves = {table.concat({there[1] + 1, now, why, there[2]}, '\t')}
  for line in string.gmatch(there[3] or '', '[^\n]+') do
    if #moves < tonumber(most) then table.insert(moves, line) end
  end
  return table.concat(moves, '\n')
end

-- uid '' admits everybody, and epoch '' any epoch.
local function fence(uid, epoch)
  local there = redis.call('HMGET', KEYS[1], 'uid', 'epoch')
  if not there[1] then return -1 end
  if uid ~= '' and there[1] ~= uid then return -4 end
  if uid ~= '' and epoch ~= '' and there[2] ~= epoch then return -2 end
  return 1
end

-- A stored value is 'version:content type:data'.
local function parse(stored)
  if not stored then return 0, nil, '' end
  local a = string.find(stored, ':', 1, true)
  local b = string.find(stored, ':', a + 1, true)
  return tonumber(string.sub(stored, 1, a - 1)), string.sub(stored, a + 1, b - 1), string.sub(stored, b + 1)
end

-- The highest version that a deleted key of the session had: a key that is set again goes on above it.
local function floor()
  return tonumber(redis.call('HGET', KEYS[1], 'floor') or 0)
end
