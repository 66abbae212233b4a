-- ARGV: id, uid, ttl ms, metadata, most sessions, owner, group, most sessions of one owner (0: so many times as many as are free), so many,
-- its bytes, most bytes of one owner
local now = clock()
sweep(now)
if redis.call('EXISTS', KEYS[1]) == 1 then return {1, redis.call('HGETALL', KEYS[1]), 0} end
local there, owner, each, mine = redis.call('ZCARD', KEYS[3]), ARGV[6], tonumber(ARGV[8]), 0
local free = tonumber(ARGV[5]) - there
if free <= 0 then return {0} end
if owner ~= '' then
  -- Where there is no session, what is known of owners is of sessions that were evicted.
  mine = there > 0 and tonumber(redis.call('HGET', KEYS[8], owner) or 0) or 0
  if mine >= (each > 0 and each or tonumber(ARGV[9]) * free) then return {-5, mine} end
  local bytes = mine > 0 and held(owner) or 0
  if bytes + ARGV[10] > tonumber(ARGV[11]) then return {-6, bytes} end
end
-- The first write is the one that a full store refuses.
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'uid', ARGV[2], 'ttl', ARGV[3], 'metadata', ARGV[4], 'created', now, 'epoch', 1,
  'worker', '', 'incarnation', '', 'bytes', 0, 'owner', ARGV[6], 'group', ARGV[7])
redis.call('DEL', KEYS[2])
if there == 0 then redis.call('DEL', KEYS[7], KEYS[8], KEYS[9], KEYS[10]) end
disown({ARGV[1]})
if owner ~= '' then
  -- A replica that doesn't count bytes yet may have ended its sessions.
  if mine == 0 then redis.call('HDEL', KEYS[10], owner) end
  redis.call('HSET', KEYS[7], ARGV[1], owner)
  redis.call('HINCRBY', KEYS[8], owner, 1)
  charge(ARGV[1], owner, tonumber(ARGV[10]))
end
slide(now)
return {1, redis.call('HGETALL', KEYS[1]), 1}
