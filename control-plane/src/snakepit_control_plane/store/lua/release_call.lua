-- KEYS: call. ARGV: run. What has an outcome stays.
local there = redis.call('HMGET', KEYS[1], 'run', 'outcome')
if there[1] ~= ARGV[1] or there[2] then return {0} end
redis.call('DEL', KEYS[1])
return {1}
