-- KEYS: replicas, by the end of their leases. ARGV: replica, lease ms. 0: it was not there. Those that ended an hour ago go.
local now = clock()
local new = redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 3600000)
keep(KEYS[1], 3600000)
return {1 - new}
