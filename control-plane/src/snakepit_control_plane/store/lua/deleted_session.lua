-- KEYS: the sessions that were deleted in the last minute. ARGV: id
-- Where there were too many to know each, anybody may have been.
if redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZCARD', KEYS[1]) >= 10000 then return {1} end
return {0}
