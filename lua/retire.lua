#!lua flags=allow-oom
--- Purpose: removes a finished lane; Postgres answers for it from then on.
--- Touches: INV-9 INV-15
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream;
---   7 supplies set
--- ARGV: 1 epoch integer
--- Returns: MISSING_LANE | FOREIGN_EPOCH | ILLEGAL (still selling) |
---   BUSY_LANE (live holds or unsettled entries) | DONE
--- Emits: nothing
--- Cost: constant; memory is freed in the background
--- @include "guard"
local meta, stock, holds, deadlines, buyers, events, supplies = unpack(KEYS)
local epoch = ARGV[1]

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'items')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if lane[2] ~= 'closed' and lane[2] ~= 'cancelled' then
  return {'ILLEGAL'}
end
if redis.call('ZCARD', deadlines) > 0 or redis.call('XLEN', events) > 0 then
  return {'BUSY_LANE'}
end
for item = 0, tonumber(lane[3]) - 1 do
  if tonumber(redis.call('HGET', stock, 'paying:' .. item)) > 0 then
    return {'BUSY_LANE'}
  end
end
redis.call('UNLINK', meta, stock, holds, deadlines, buyers, events, supplies)
return {'DONE'}
