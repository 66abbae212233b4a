-- KEYS: lease, lost. ARGV: ttl ms. For how many ms more some replica has heard the agent; 0: it is lost.
local left = redis.call('PTTL', KEYS[1])
if left >= 0 then return {math.max(left, 1)} end
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
return {0}
