-- KEYS: lease, lost. ARGV: ttl ms. 0: the agent was declared lost.
if redis.call('EXISTS', KEYS[2]) == 1 then return {0} end
redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
return {1}
