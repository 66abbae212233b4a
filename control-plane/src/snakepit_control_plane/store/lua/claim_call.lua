-- KEYS: call, replicas. ARGV: digest, replica, run, lease ms, ms to keep, outcome of an orphan. The twin of MemoryClaims.claim.
-- 0 another call's, 1 ours, 2 running, 3 done
local now = clock()
local there = redis.call('HMGET', KEYS[1], 'digest', 'replica', 'outcome')
if there[1] and there[1] ~= ARGV[1] then return {0} end
if there[3] then return {3, there[3]} end
if not there[1] or there[2] == ARGV[2] then
  redis.call('ZADD', KEYS[2], now + ARGV[4], ARGV[2])
  keep(KEYS[2], ARGV[5] * 1)
  redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'replica', ARGV[2], 'run', ARGV[3])
  redis.call('HDEL', KEYS[1], 'joined')
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
  return {1}
end
if (tonumber(redis.call('ZSCORE', KEYS[2], there[2]) or 0)) > now then
  redis.call('HSET', KEYS[1], 'joined', 1)
  return {2}
end
redis.call('HSET', KEYS[1], 'outcome', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {3, ARGV[6]}
