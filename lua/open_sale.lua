#!lua
--- Purpose: arms a lane: terms and, the first time, stock. Opening is then Redis' clock's alone.
--- Touches: INV-1 INV-3 INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 starts_at_ms integer; 3 ends_at_ms integer;
---   4 buyer_limit integer units; 5 hold_ms integer; 6 items integer;
---   then, to make a lane that is not there, for each item: capacity integer units
--- Returns: MISSING_LANE (and no capacities) | FOREIGN_EPOCH | BAD_ARGUMENT |
---   ILLEGAL (closed, or another number of items) | ALREADY (same terms) |
---   UPDATED (new terms, stock untouched) | OPENED
--- Emits: one entry with an open line
--- Cost: one read, three writes
--- @include "clock"
--- @include "integer"
--- @include "append_entry"
local meta, stock, events = unpack(KEYS)
local epoch, starts_at_ms, ends_at_ms = ARGV[1], ARGV[2], ARGV[3]
local buyer_limit, hold_ms, items = ARGV[4], ARGV[5], integer(ARGV[6], 1, 100)

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'items',
  'starts_at_ms', 'ends_at_ms', 'buyer_limit', 'hold_ms')
if not lane[1] and #ARGV == 6 then
  return {'MISSING_LANE'}
end
if lane[1] and lane[1] ~= epoch then
  return {'FOREIGN_EPOCH'}
end
local starts, ends = integer(starts_at_ms, 0, 1e15), integer(ends_at_ms, 0, 1e15)
if not integer(epoch, 1, 1e9) or not starts or not ends or starts >= ends
  or not integer(buyer_limit, 1, 1e9) or not integer(hold_ms, 1, 1e12)
  or not items or (#ARGV ~= 6 and #ARGV ~= 6 + items) then
  return {'BAD_ARGUMENT'}
end
for item = 1, #ARGV - 6 do
  if not integer(ARGV[6 + item], 0, 1e9) then
    return {'BAD_ARGUMENT'}
  end
end
if lane[2] and (lane[2] == 'closed' or lane[2] == 'cancelled' or lane[3] ~= ARGV[6]) then
  return {'ILLEGAL'}
end
if lane[4] == starts_at_ms and lane[5] == ends_at_ms
  and lane[6] == buyer_limit and lane[7] == hold_ms then
  return {'ALREADY'}
end

redis.call('HSET', meta, 'starts_at_ms', starts_at_ms, 'ends_at_ms', ends_at_ms,
  'buyer_limit', buyer_limit, 'hold_ms', hold_ms)
if not lane[1] then
  redis.call('HSET', meta, 'epoch', epoch, 'state', 'open', 'items', ARGV[6], 'seq', '0')
  for item = 0, items - 1 do
    local capacity = ARGV[7 + item]
    redis.call('HSET', stock, 'capacity:' .. item, capacity, 'available:' .. item, capacity,
      'held:' .. item, '0', 'paying:' .. item, '0', 'sold:' .. item, '0')
  end
end
append_entry(meta, stock, events, epoch, clock(), {'open\t' .. starts_at_ms .. '-' .. ends_at_ms})
return {lane[1] and 'UPDATED' or 'OPENED'}
