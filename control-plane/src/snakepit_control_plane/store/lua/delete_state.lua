-- ARGV: uid, epoch, key
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
local version, _, old = parse(redis.call('HGET', KEYS[2], ARGV[3]))
if version == 0 then return {0} end
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'bytes', -#old)
if version > floor() then redis.call('HSET', KEYS[1], 'floor', version) end
return {1}
