#!lua
--- Purpose: ends a lane's rebuilding: what is not in orders is on sale, the epoch is written last.
--- Touches: INV-1 INV-3 INV-9 INV-15
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 events stream
--- ARGV: 1 epoch integer; 2 orders integer: records that must be there;
---   3 last_entry_id string: the newest that anybody knows of
--- Returns: OPENED (before) | MISSING_LANE | FOREIGN_EPOCH (not being rebuilt for it) |
---   BAD_ARGUMENT | BUSY_LANE (other records than orders) |
---   BELOW_LIVE item (more units in orders than the SKU has) | DONE
--- Emits: one entry with a recovered line
--- Cost: two reads and a write for each item
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "append_entry"
local meta, stock, holds, events = unpack(KEYS)
local epoch, orders, last_entry_id = ARGV[1], integer(ARGV[2], 0, 1e15), ARGV[3]

local lane = redis.call('HMGET', meta, 'epoch', 'items')
if lane[1] == epoch then
  return {'OPENED'}
end
local refusal = guard(lane[1], '-' .. epoch)
if refusal then
  return {refusal}
end
local last_ms, last_number = string.match(last_entry_id or '', '^(%d+)%-(%d+)$')
if not orders or not last_ms then
  return {'BAD_ARGUMENT'}
end
if redis.call('HLEN', holds) ~= orders then
  return {'BUSY_LANE'}
end
local available = {}
for item = 0, tonumber(lane[2]) - 1 do
  local counters = redis.call('HMGET', stock, 'capacity:' .. item, 'held:' .. item,
    'paying:' .. item, 'sold:' .. item)
  local left = counters[1] - counters[2] - counters[3] - counters[4]
  if left < 0 then
    return {'BELOW_LIVE', item}
  end
  available[#available + 1], available[#available + 2] = 'available:' .. item, decimal(left)
end
local now_ms, id = clock(), '*'
-- Where the clock is behind what was settled, the stream goes on from there all the same.
if tonumber(last_ms) >= now_ms then
  id = last_ms .. '-' .. decimal(tonumber(last_number) + 1)
end
redis.call('HSET', stock, unpack(available))
append_entry(meta, stock, events, epoch, now_ms, {'recovered\t' .. decimal(orders)}, id)
redis.call('HSET', meta, 'epoch', epoch)
return {'DONE'}
