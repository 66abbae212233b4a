-- KEYS: lease, lost. ARGV: ttl ms. 0: the agent was declared lost. A lease that is there is prolonged even while the store is full.
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
if redis.call('PEXPIRE', KEYS[1], ARGV[1]) == 0 then redis.call('SET', KEYS[1], '1', 'PX', ARGV[1]) end
return {1}
