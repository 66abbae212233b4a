-- KEYS: lease, lost, leases of the pool by their end. ARGV: ttl ms, incarnation. 0: the agent was declared lost.
-- A lease that is there is prolonged even while the store is full; its line in the list, which only a replica's start asks for, is not.
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
local now = clock()
redis.pcall('ZADD', KEYS[3], now + ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now)
keep(KEYS[3], tonumber(ARGV[1]))
return {1}
