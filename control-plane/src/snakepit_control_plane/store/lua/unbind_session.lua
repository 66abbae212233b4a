-- ARGV: uid, epoch, incarnation as known; why it moves, most moves
local there = redis.call('HMGET', KEYS[1], 'uid', 'epoch', 'incarnation', 'id')
if not there[1] then return {-1} end
if there[1] == ARGV[1] and there[2] == ARGV[2] and there[3] == ARGV[3] then
  redis.call('HSET', KEYS[1], 'moves', moved(clock(), ARGV[4], ARGV[5]), 'worker', '', 'incarnation', '', 'agent', '')
  redis.call('HDEL', KEYS[5], there[4])
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
end
return {1, redis.call('HGETALL', KEYS[1])}
