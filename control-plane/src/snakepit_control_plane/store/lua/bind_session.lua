-- ARGV: uid, epoch, incarnation as known; worker, incarnation, agent to bind to; why it moves, most moves. A bound session moves under the
-- next epoch.
local there = redis.call('HMGET', KEYS[1], 'uid', 'epoch', 'incarnation', 'id')
if not there[1] then return {-1} end
local now = clock()
if there[1] == ARGV[1] and there[2] == ARGV[2] and there[3] == ARGV[3] then
  local moves = ARGV[3] ~= '' and moved(now, ARGV[7], ARGV[8])
  redis.call('HSET', KEYS[1], 'worker', ARGV[4], 'incarnation', ARGV[5], 'agent', ARGV[6])
  redis.call('HSET', KEYS[5], there[4], ARGV[1] .. '\n' .. ARGV[4] .. '\n' .. ARGV[5])
  if moves then
    redis.call('HINCRBY', KEYS[1], 'epoch', 1)
    redis.call('HSET', KEYS[1], 'moves', moves)
  end
end
slide(now)
return {1, redis.call('HGETALL', KEYS[1])}
