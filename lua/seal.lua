#!lua flags=allow-oom
--- Purpose: closes what is left of a lane to everybody, before recovery takes it apart.
--- Touches: INV-9
--- KEYS: 1 meta hash
--- ARGV: 1 epoch integer: the one that recovery will open the lane with
--- Returns: BAD_ARGUMENT | MISSING_LANE (nothing is left) | OPENED (recovery has opened it) |
---   ALREADY | FOREIGN_EPOCH (a later one is at work) | DONE
--- Emits: nothing
--- Cost: one read, one write
--- @include "integer"
local meta = KEYS[1]
local epoch = ARGV[1]

if not integer(epoch, 2, 1e9) then
  return {'BAD_ARGUMENT'}
end
local found = redis.call('HGET', meta, 'epoch')
if not found then
  return {'MISSING_LANE'}
end
if found == epoch then
  return {'OPENED'}
end
if found == '-' .. epoch then
  return {'ALREADY'}
end
if math.abs(tonumber(found)) > tonumber(epoch) then
  return {'FOREIGN_EPOCH'}
end
-- No command carries a negative epoch: every script refuses the lane from here on.
redis.call('HSET', meta, 'epoch', '-' .. epoch)
return {'DONE'}
