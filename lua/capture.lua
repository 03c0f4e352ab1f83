#!lua flags=allow-oom
--- Purpose: money came in (S: all of it, E: a deposit): the units are sold, if there still are any.
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-11
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 order string hash; 3 buyer string id; 4 letter string: S or E
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   UNKNOWN_ORDER (none, or another buyer's) | ALREADY record (captured before) |
---   ILLEGAL record (it ended for good, or its time ran out and the sale is cancelled) |
---   LIMIT_REACHED record (late, and the buyer has others now) |
---   SOLD_OUT record (late, and others have the units now) | CAPTURED record
--- Emits: one entry with an S or E line
--- Cost: at most four reads, seven writes
--- @include "clock"
--- @include "decimal"
--- @include "guard"
--- @include "find_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, order, buyer, letter = unpack(ARGV)

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'buyer_limit')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if letter ~= 'S' and letter ~= 'E' then
  return {'BAD_ARGUMENT'}
end
local record, hold = find_hold(holds, order, buyer)
if not hold then
  return {'UNKNOWN_ORDER'}
end
if hold.state == letter then
  return {'ALREADY', record}
end
local late = hold.state == 'X' and lane[2] ~= 'cancelled'
if hold.state ~= 'P' and hold.state ~= 'R' and not late then
  return {'ILLEGAL', record}
end
if late then
  local count = tonumber(redis.call('HGET', buyers, buyer) or 0)
  if count + hold.quantity > tonumber(lane[3]) then
    return {'LIMIT_REACHED', record}
  end
  local available = redis.call('HGET', stock, 'available:' .. decimal(hold.item))
  if tonumber(available) < hold.quantity then
    return {'SOLD_OUT', record}
  end
end
local keys = {meta = meta, stock = stock, holds = holds,
  deadlines = deadlines, buyers = buyers, events = events}
local moves = {{order = order, hold = hold, letter = letter}}
return {'CAPTURED', move_holds(moves, keys, epoch, clock())[1]}
