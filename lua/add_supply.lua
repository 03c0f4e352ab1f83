#!lua
--- Purpose: adds a wave of units, or takes unsold ones back; once for each supply id.
--- Touches: INV-1 INV-3
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream; 4 supplies set
--- ARGV: 1 epoch integer; 2 supply string id; 3 item integer;
---   4 quantity integer units, may be negative
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | ALREADY | UNKNOWN_SKU |
---   BELOW_LIVE available (a cut into live orders, or a wave over the bound) | DONE available
--- Emits: one entry with a supply line
--- Cost: four reads, four writes
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "append_entry"
local meta, stock, events, supplies = unpack(KEYS)
local epoch, supply = ARGV[1], ARGV[2]
local item, quantity = integer(ARGV[3], 0, 999), integer(ARGV[4], -1e9, 1e9)

local lane = redis.call('HMGET', meta, 'epoch', 'items')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not item or not quantity or quantity == 0 or not supply or supply == '' then
  return {'BAD_ARGUMENT'}
end
if redis.call('SISMEMBER', supplies, supply) == 1 then
  return {'ALREADY'}
end
if item >= tonumber(lane[2]) then
  return {'UNKNOWN_SKU'}
end
local counters = redis.call('HMGET', stock, 'available:' .. item, 'capacity:' .. item)
local available, capacity = tonumber(counters[1]) + quantity, tonumber(counters[2]) + quantity
if available < 0 or capacity > 1e9 then
  return {'BELOW_LIVE', tonumber(counters[1])}
end
redis.call('SADD', supplies, supply)
redis.call('HSET', stock, 'available:' .. item, decimal(available),
  'capacity:' .. item, decimal(capacity))
local line = 'supply\t' .. supply .. ' ' .. decimal(item) .. ' ' .. decimal(quantity)
append_entry(meta, stock, events, epoch, clock(), {line})
return {'DONE', available}
