-- KEYS: lease, lost. ARGV: ttl ms. 0: some replica still hears the agent.
if redis.call('EXISTS', KEYS[1]) == 1 then return {0} end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return {1}
