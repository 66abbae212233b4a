-- KEYS: leases of the pool by their end.
return {1, redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. clock(), '+inf')}
