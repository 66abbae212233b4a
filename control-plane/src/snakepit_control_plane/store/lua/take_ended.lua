-- ARGV: how many at most
sweep(clock())
return {1, redis.call('LPOP', KEYS[6], ARGV[1]) or {}}
