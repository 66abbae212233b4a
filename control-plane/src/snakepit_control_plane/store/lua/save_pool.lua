-- KEYS: pool. ARGV: uid, generation, deleted, settings, override, ttl ms, ttl ms of a deleted pool. The twin of `supersedes`.
local there = redis.call('HMGET', KEYS[1], 'uid', 'generation', 'deleted', 'settings')
local write = not there[1]
if there[1] == ARGV[1] then
  write = ARGV[5] == '1' and (ARGV[3] == '1' or there[3] == '1' or tonumber(ARGV[2]) >= tonumber(there[2]))
elseif there[1] then
  write = ARGV[5] == '1' or there[3] == '1'
end
if write then
  redis.call('HSET', KEYS[1], 'uid', ARGV[1], 'generation', ARGV[2], 'deleted', ARGV[3], 'settings', ARGV[4])
  there = {ARGV[1], ARGV[2], ARGV[3], ARGV[4]}
end
redis.call('PEXPIRE', KEYS[1], there[3] == '1' and ARGV[7] or ARGV[6])
return {1, there[4]}
