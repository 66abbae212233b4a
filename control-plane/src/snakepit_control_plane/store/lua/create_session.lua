-- ARGV: id, uid, ttl ms, metadata, most sessions, owner, group
local now = clock()
sweep(now)
if redis.call('EXISTS', KEYS[1]) == 1 then return {1, redis.call('HGETALL', KEYS[1]), 0} end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[5]) then return {0} end
-- The first write is the one that a full store refuses.
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'uid', ARGV[2], 'ttl', ARGV[3], 'metadata', ARGV[4], 'created', now, 'epoch', 1,
  'worker', '', 'incarnation', '', 'bytes', 0, 'owner', ARGV[6], 'group', ARGV[7])
redis.call('DEL', KEYS[2])
slide(now)
return {1, redis.call('HGETALL', KEYS[1]), 1}
