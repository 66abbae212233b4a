-- ARGV: uid ('': any)
local uid = redis.call('HGET', KEYS[1], 'uid')
if redis.call('EXISTS', KEYS[1]) == 0 or ARGV[1] ~= '' and uid ~= ARGV[1] then return {-1} end
slide(clock())
return {1, redis.call('HGETALL', KEYS[1])}
