#!lua
--- Purpose: stops a lane from selling for a while, or lets it go on.
--- Touches: INV-3 INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 state string: paused or open;
---   3 revision integer: of the sale when its state was read
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   ALREADY (also where a later revision was told: who read the sale before it is late) |
---   ILLEGAL (the sale is over) | DONE
--- Emits: one entry with a pause or resume line
--- Cost: one read, two writes
--- @include "clock"
--- @include "guard"
--- @include "append_entry"
--- @include "integer"
local meta, stock, events = unpack(KEYS)
local epoch, state, revision = unpack(ARGV)

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'revision')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if (state ~= 'paused' and state ~= 'open') or not integer(revision, 0, 2 ^ 31) then
  return {'BAD_ARGUMENT'}
end
if lane[2] == state or tonumber(revision) < tonumber(lane[3] or 0) then
  return {'ALREADY'}
end
if lane[2] ~= 'open' and lane[2] ~= 'paused' then
  return {'ILLEGAL'}
end
redis.call('HSET', meta, 'state', state, 'revision', revision)
local line = state == 'paused' and 'pause\t' or 'resume\t'
append_entry(meta, stock, events, epoch, clock(), {line})
return {'DONE'}
