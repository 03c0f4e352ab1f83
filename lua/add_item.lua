#!lua
--- Purpose: puts another SKU on a sale that is armed, or over: it may have been recorded before.
--- Touches: INV-1 INV-3
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 item integer: the next number; 3 capacity integer units
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | ALREADY (it is there) |
---   ILLEGAL (a number would be left out) | DONE
--- Emits: one entry with an item line
--- Cost: one read, three writes
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "append_entry"
local meta, stock, events = unpack(KEYS)
local epoch, item, capacity = ARGV[1], integer(ARGV[2], 0, 99), integer(ARGV[3], 0, 1e9)

local lane = redis.call('HMGET', meta, 'epoch', 'items')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not item or not capacity then
  return {'BAD_ARGUMENT'}
end
if item < tonumber(lane[2]) then
  return {'ALREADY'}
end
if item > tonumber(lane[2]) then
  return {'ILLEGAL'}
end
local number, units = decimal(item), decimal(capacity)
redis.call('HSET', meta, 'items', decimal(item + 1))
redis.call('HSET', stock, 'capacity:' .. number, units, 'available:' .. number, units,
  'held:' .. number, '0', 'paying:' .. number, '0', 'sold:' .. number, '0')
append_entry(meta, stock, events, epoch, clock(), {'item\t' .. number .. ' ' .. units})
return {'DONE'}
