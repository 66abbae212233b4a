-- ARGV: uid, epoch, key, content type, data, expected version or '', most bytes of a value, most keys, most bytes, most of
-- one owner, bytes of any key
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
local version, kind, old = parse(redis.call('HGET', KEYS[2], ARGV[3]))
if ARGV[6] ~= '' and tonumber(ARGV[6]) ~= version then return {0, version} end
local keys = redis.call('HLEN', KEYS[2]) + (version == 0 and 1 or 0)
local there = redis.call('HMGET', KEYS[1], 'bytes', 'id', 'owner')
local total = there[1] + #ARGV[5] - #old
if #ARGV[5] > tonumber(ARGV[7]) or keys > tonumber(ARGV[8]) or total > tonumber(ARGV[9]) then return {-3, #ARGV[5], keys, total} end
local more = #ARGV[4] + #ARGV[5] - (version > 0 and #kind + #old or -#ARGV[3] - ARGV[11])
if more > 0 and there[3] and there[3] ~= '' then
  local bytes = held(there[3])
  if bytes + more > tonumber(ARGV[10]) then return {-6, bytes, more, there[3]} end
end
local next_version = (version > 0 and version or floor()) + 1
redis.call('HSET', KEYS[2], ARGV[3], next_version .. ':' .. ARGV[4] .. ':' .. ARGV[5])
redis.call('HSET', KEYS[1], 'bytes', total)
charge(there[2], there[3], more)
slide(clock())
return {1, next_version}
