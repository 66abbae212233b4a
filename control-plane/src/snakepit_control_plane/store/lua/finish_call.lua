-- KEYS: call. ARGV: digest, replica, run, outcome, ms to keep. 0: it is another run's by now.
local run = redis.call('HGET', KEYS[1], 'run')
if run and run ~= ARGV[3] then return {0} end
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'replica', ARGV[2], 'run', ARGV[3], 'outcome', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return {1}
