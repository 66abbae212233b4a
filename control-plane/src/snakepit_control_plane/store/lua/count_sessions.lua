sweep(clock())
return {1, redis.call('ZCARD', KEYS[3])}
