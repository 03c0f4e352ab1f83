#!lua flags=allow-oom
--- Purpose: ends one buyer's hold before its time (C: cancelled, J: rejected by the ledger).
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 letter string: C or J
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) |
---   ALREADY record (ended this way before) | ILLEGAL record (ended another way) | RELEASED record
--- Emits: one entry with a C or J line
--- Cost: two reads, seven writes
--- @include "clock"
--- @include "guard"
--- @include "parse_hold"
--- @include "end_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, letter = unpack(ARGV)

local refusal = guard(redis.call('HGET', meta, 'epoch'), epoch)
if refusal then
  return {refusal}
end
if letter ~= 'C' and letter ~= 'J' then
  return {'BAD_ARGUMENT'}
end
local record = redis.call('HGET', holds, order)
local hold = record and parse_hold(record)
if not hold or hold.buyer ~= buyer then
  return {'UNKNOWN_ORDER'}
end
if hold.state == letter then
  return {'ALREADY', record}
end
if hold.state ~= 'R' then
  return {'ILLEGAL', record}
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
end_holds(letter, {order}, {record}, keys, epoch, clock())
return {'RELEASED', redis.call('HGET', holds, order)}
