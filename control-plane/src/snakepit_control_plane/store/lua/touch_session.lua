if redis.call('EXISTS', KEYS[1]) == 0 then return {-1} end
slide(clock())
return {1, redis.call('HGETALL', KEYS[1])}
