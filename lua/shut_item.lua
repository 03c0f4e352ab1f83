#!lua flags=allow-oom
--- Purpose: stops one SKU from being reserved, or lets it be; what is held of it stays.
--- Touches: INV-1
--- KEYS: 1 meta hash
--- ARGV: 1 epoch integer; 2 item integer; 3 state string: shut or open
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | UNKNOWN_SKU | ALREADY | DONE
--- Emits: nothing
--- Cost: one read, one write
--- @include "integer"
--- @include "guard"
local meta = KEYS[1]
local epoch, item, state = ARGV[1], integer(ARGV[2], 0, 99), ARGV[3]

local lane = redis.call('HMGET', meta, 'epoch', 'items', 'shut')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not item or (state ~= 'shut' and state ~= 'open') then
  return {'BAD_ARGUMENT'}
end
if item >= tonumber(lane[2]) then
  return {'UNKNOWN_SKU'}
end
local shut, name = lane[3] or ',', ',' .. ARGV[2] .. ','
local from, to = string.find(shut, name, 1, true)
if (from ~= nil) == (state == 'shut') then
  return {'ALREADY'}
end
if state == 'shut' then
  shut = shut .. ARGV[2] .. ','
else
  shut = string.sub(shut, 1, from) .. string.sub(shut, to + 1)
end
redis.call('HSET', meta, 'shut', shut)
return {'DONE'}
