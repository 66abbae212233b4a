-- ARGV: uid, epoch, key, content type, data, expected version or '', most bytes of a value, most keys, most bytes
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
local version, _, old = parse(redis.call('HGET', KEYS[2], ARGV[3]))
if ARGV[6] ~= '' and tonumber(ARGV[6]) ~= version then return {0, version} end
local keys = redis.call('HLEN', KEYS[2]) + (version == 0 and 1 or 0)
local total = redis.call('HGET', KEYS[1], 'bytes') + #ARGV[5] - #old
if #ARGV[5] > tonumber(ARGV[7]) or keys > tonumber(ARGV[8]) or total > tonumber(ARGV[9]) then return {-3, #ARGV[5], keys, total} end
local next_version = (version > 0 and version or floor()) + 1
redis.call('HSET', KEYS[2], ARGV[3], next_version .. ':' .. ARGV[4] .. ':' .. ARGV[5])
redis.call('HSET', KEYS[1], 'bytes', total)
slide(clock())
return {1, next_version}
