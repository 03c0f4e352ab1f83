#!lua
--- Purpose: begins a sealed or missing lane anew: terms, capacities, and no hold yet.
--- Touches: INV-1 INV-9
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 supplies set
--- ARGV: 1 epoch integer; 2 state string; 3 starts_at_ms integer; 4 ends_at_ms integer;
---   5 buyer_limit integer units; 6 hold_ms integer; 7 seq integer: entries appended so far;
---   then for each item: capacity integer units
--- Returns: BAD_ARGUMENT | FOREIGN_EPOCH (not sealed for this epoch) | DONE
--- Emits: nothing
--- Cost: one read, three writes; memory is freed in the background
--- @include "integer"
local meta, stock, holds, deadlines, buyers, supplies = unpack(KEYS)
local epoch, state, starts_at_ms, ends_at_ms, buyer_limit, hold_ms, seq = unpack(ARGV)

local states = {open = true, paused = true, closed = true, cancelled = true}
if not integer(epoch, 2, 1e9) or not states[state] or #ARGV < 8
  or not integer(starts_at_ms, 0, 1e15) or not integer(ends_at_ms, 0, 1e15)
  or not integer(buyer_limit, 1, 1e9) or not integer(hold_ms, 1, 1e12)
  or not integer(seq, 0, 1e15) then
  return {'BAD_ARGUMENT'}
end
local fields = {}
for item = 0, #ARGV - 8 do
  local capacity = ARGV[8 + item]
  if not integer(capacity, 0, 1e9) then
    return {'BAD_ARGUMENT'}
  end
  fields[#fields + 1], fields[#fields + 2] = 'capacity:' .. item, capacity
  for _, counter in ipairs({'available:', 'held:', 'paying:', 'sold:'}) do
    fields[#fields + 1], fields[#fields + 2] = counter .. item, '0'
  end
end
local found = redis.call('HGET', meta, 'epoch')
if found and found ~= '-' .. epoch then
  return {'FOREIGN_EPOCH'}
end
redis.call('UNLINK', meta, stock, holds, deadlines, buyers, supplies)
redis.call('HSET', meta, 'epoch', '-' .. epoch, 'state', state, 'starts_at_ms', starts_at_ms,
  'ends_at_ms', ends_at_ms, 'buyer_limit', buyer_limit, 'hold_ms', hold_ms, 'seq', seq,
  'items', #ARGV - 7)
redis.call('HSET', stock, unpack(fields))
return {'DONE'}
