-- ARGV: uid, epoch, key
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
return {1, redis.call('HGET', KEYS[2], ARGV[3])}
