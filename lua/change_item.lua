#!lua
--- Purpose: gives an order that a deposit is paid for another SKU, where one is available.
--- Touches: INV-1 INV-3 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 item integer;
---   5 until_ms integer: when the question is not to be answered any more (none: always)
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) | ALREADY record (it is of this SKU) |
---   ILLEGAL record (no deposit is paid, or the sale is cancelled) |
---   OVERDUE record (asked too long ago) | UNKNOWN_SKU record | SOLD_OUT record | CHANGED record
--- Emits: one entry with an M line
--- Cost: three reads, eight writes
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "find_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, item = ARGV[1], ARGV[2], ARGV[3], integer(ARGV[4], 0, 999)
local until_ms = integer(ARGV[5], 0, 1e15)

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'items')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not item or (ARGV[5] and not until_ms) then
  return {'BAD_ARGUMENT'}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == 'E' and hold.item == item then
  return {'ALREADY', record}
end
if hold.state ~= 'E' or lane[2] == 'cancelled' then
  return {'ILLEGAL', record}
end
local now_ms = clock()
if until_ms and now_ms >= until_ms then
  return {'OVERDUE', record}
end
if item >= tonumber(lane[3]) then
  return {'UNKNOWN_SKU', record}
end
if tonumber(redis.call('HGET', stock, 'available:' .. decimal(item))) < hold.quantity then
  return {'SOLD_OUT', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = 'E', kind = 'M', item = item}}
return {'CHANGED', move_holds(moves, keys, epoch, now_ms)[1]}
