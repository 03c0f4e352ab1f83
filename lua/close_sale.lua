#!lua flags=allow-oom
--- Purpose: ends a lane's sale for good; live holds keep their time unless the sale was cancelled.
--- Touches: INV-3 INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 state string: closed or cancelled
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | ALREADY |
---   ILLEGAL (over the other way) | DONE
--- Emits: one entry with a close line
--- Cost: one read, two writes
--- @include "clock"
--- @include "guard"
--- @include "append_entry"
local meta, stock, events = unpack(KEYS)
local epoch, state = unpack(ARGV)

local lane = redis.call('HMGET', meta, 'epoch', 'state')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if state ~= 'closed' and state ~= 'cancelled' then
  return {'BAD_ARGUMENT'}
end
if lane[2] == state then
  return {'ALREADY'}
end
if lane[2] == 'closed' or lane[2] == 'cancelled' then
  return {'ILLEGAL'}
end
redis.call('HSET', meta, 'state', state)
append_entry(meta, stock, events, epoch, clock(), {'close\t' .. state})
return {'DONE'}
