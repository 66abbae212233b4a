-- ARGV: incarnation, or '' for whichever it is bound to
local there = redis.call('HGET', KEYS[1], 'incarnation')
if not there then return {-1} end
if ARGV[1] == '' or ARGV[1] == there then
  redis.call('HSET', KEYS[1], 'worker', '', 'incarnation', '')
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
end
return {1, redis.call('HGETALL', KEYS[1])}
