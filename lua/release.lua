#!lua flags=allow-oom
--- Purpose: ends one buyer's hold before its time (C: cancelled, J: rejected by the ledger).
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 letter string: C or J
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) | ALREADY record (ended this way before) |
---   ILLEGAL record (ended another way, sold, or being paid and rejected) | RELEASED record
--- Emits: one entry with a C or J line
--- Cost: two reads, seven writes
--- @include "clock"
--- @include "guard"
--- @include "find_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, letter = unpack(ARGV)

local refusal = guard(redis.call('HGET', meta, 'epoch'), epoch)
if refusal then
  return {refusal}
end
if letter ~= 'C' and letter ~= 'J' then
  return {'BAD_ARGUMENT'}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == letter then
  return {'ALREADY', record}
end
-- The ledger rejects only what it has not confirmed, and nothing else is ever being paid.
if hold.state ~= 'R' and (hold.state ~= 'P' or letter ~= 'C') then
  return {'ILLEGAL', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = letter}}
return {'RELEASED', move_holds(moves, keys, epoch, clock())[1]}
