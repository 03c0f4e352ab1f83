#!lua flags=allow-oom
--- Purpose: ends a checkout without money: the hold has what is left of its own time again.
--- Touches: INV-1 INV-3 INV-5 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id;
---   4 version string: of the record that the checkout made; none: whichever is under way
--- Returns: MISSING_LANE | FOREIGN_EPOCH | UNKNOWN_ORDER (none, or another buyer's) |
---   ALREADY record (it is held, or another checkout has begun since) |
---   ILLEGAL record (it ended, or is paid) | DECLINED record
--- Emits: one entry with a D line
--- Cost: two reads, six writes
--- @include "clock"
--- @include "decimal"
--- @include "guard"
--- @include "find_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, version = unpack(ARGV)

local refusal = guard(redis.call('HGET', meta, 'epoch'), epoch)
if refusal then
  return {refusal}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == 'R' then
  return {'ALREADY', record}
end
if hold.state ~= 'P' then
  return {'ILLEGAL', record}
end
if version and decimal(hold.version) ~= version then
  return {'ALREADY', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = 'R', kind = 'D', due_ms = hold.deadline_ms}}
return {'DECLINED', move_holds(moves, keys, epoch, clock())[1]}
