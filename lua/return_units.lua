#!lua flags=allow-oom
--- Purpose: puts sold units back on sale (F: the money goes back, L: the deposit is forfeited).
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 letter string: F or L
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) | ALREADY record (given back this way before) |
---   ILLEGAL record (nothing is paid, or for L more than a deposit) | RETURNED record
--- Emits: one entry with an F or L line
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
if letter ~= 'F' and letter ~= 'L' then
  return {'BAD_ARGUMENT'}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == letter then
  return {'ALREADY', record}
end
if hold.state ~= 'E' and (hold.state ~= 'S' or letter ~= 'F') then
  return {'ILLEGAL', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = letter}}
return {'RETURNED', move_holds(moves, keys, epoch, clock())[1]}
