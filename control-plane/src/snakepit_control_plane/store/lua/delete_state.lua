-- ARGV: uid, epoch, key, bytes of any key
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
local version, kind, old = parse(redis.call('HGET', KEYS[2], ARGV[3]))
if version == 0 then return {0} end
redis.call('HDEL', KEYS[2], ARGV[3])
redis.call('HINCRBY', KEYS[1], 'bytes', 0 - #old)
local there = redis.call('HMGET', KEYS[1], 'id', 'owner')
charge(there[1], there[2], -(#ARGV[3] + #kind + #old + ARGV[4]))
if version > floor() then redis.call('HSET', KEYS[1], 'floor', version) end
return {1}
