#!lua
--- Purpose: stops a lane from selling for a while, or lets it go on.
--- Touches: INV-3 INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 state string: paused or open
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | ALREADY |
---   ILLEGAL (the sale is over) | DONE
--- Emits: one entry with a pause or resume line
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
if state ~= 'paused' and state ~= 'open' then
  return {'BAD_ARGUMENT'}
end
if lane[2] == state then
  return {'ALREADY'}
end
if lane[2] ~= 'open' and lane[2] ~= 'paused' then
  return {'ILLEGAL'}
end
redis.call('HSET', meta, 'state', state)
local line = state == 'paused' and 'pause\t' or 'resume\t'
append_entry(meta, stock, events, epoch, clock(), {line})
return {'DONE'}
