-- ARGV: uid, epoch, incarnation as known. 1: nobody has said of this binding before that its worker is gone for good.
local there = redis.call('HMGET', KEYS[1], 'uid', 'epoch', 'incarnation', 'lost')
if not there[1] then return {-1} end
if there[1] ~= ARGV[1] or there[2] ~= ARGV[2] or there[3] ~= ARGV[3] or there[4] == ARGV[2] then return {0} end
redis.call('HSET', KEYS[1], 'lost', ARGV[2])
return {1}
