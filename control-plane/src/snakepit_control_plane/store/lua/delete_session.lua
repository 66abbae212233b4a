-- ARGV: id, uid ('': any). KEYS[11]: the sessions that were deleted in the last minute, the last ten thousand.
local uid = redis.call('HGET', KEYS[1], 'uid')
if uid and ARGV[2] ~= '' and uid ~= ARGV[2] then return {-1} end
local record = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
disown({ARGV[1]})
if #record == 0 then return {-1} end
local now = clock()
redis.call('ZADD', KEYS[11], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[11], '-inf', now - 60000)
redis.call('ZREMRANGEBYRANK', KEYS[11], 0, -10001)
redis.call('PEXPIRE', KEYS[11], 60000)
return {1, record}
