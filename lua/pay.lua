#!lua
--- Purpose: begins a checkout: the hold's units are set aside for a payment that is under way.
--- Touches: INV-1 INV-3 INV-5 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 pay_ms integer
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) | ALREADY record (it is being paid) |
---   ILLEGAL record (it ended, or is paid) | OVERDUE record (its time is up) | PAYING record
--- Emits: one entry with a P line
--- Cost: two reads, six writes
--- @include "clock"
--- @include "integer"
--- @include "guard"
--- @include "find_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, pay_ms = ARGV[1], ARGV[2], ARGV[3], integer(ARGV[4], 1, 1e12)

local refusal = guard(redis.call('HGET', meta, 'epoch'), epoch)
if refusal then
  return {refusal}
end
if not pay_ms then
  return {'BAD_ARGUMENT'}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == 'P' then
  return {'ALREADY', record}
end
if hold.state ~= 'R' then
  return {'ILLEGAL', record}
end
local now_ms = clock()
if hold.deadline_ms <= now_ms then
  return {'OVERDUE', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = 'P', due_ms = now_ms + pay_ms}}
return {'PAYING', move_holds(moves, keys, epoch, now_ms)[1]}
