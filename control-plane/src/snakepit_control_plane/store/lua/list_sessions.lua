-- ARGV: after, limit. Ids only: the records have keys of their own.
sweep(clock())
local from = ARGV[1] == '' and '-' or '(' .. ARGV[1]
return {1, redis.call('ZRANGEBYLEX', KEYS[4], from, '+', 'LIMIT', 0, ARGV[2])}
