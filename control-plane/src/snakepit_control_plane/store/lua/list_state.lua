-- ARGV: uid, epoch
local admitted = fence(ARGV[1], ARGV[2])
if admitted < 0 then return {admitted} end
local listed = {}
local all = redis.call('HGETALL', KEYS[2])
for i = 1, #all, 2 do
  local version, _, data = parse(all[i + 1])
  listed[#listed + 1] = {all[i], version, #data}
end
return {1, listed}
