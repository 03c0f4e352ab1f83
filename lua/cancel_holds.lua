#!lua flags=allow-oom
--- Purpose: ends every hold of a cancelled sale, so many a call; also those that are being paid.
--- Touches: INV-1 INV-3 INV-5 INV-7
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 limit integer holds
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT | ILLEGAL (not cancelled) | DONE cancelled
--- Emits: one entry with a C line for each hold, or nothing
--- Cost: three reads and six writes for each hold ended
--- @include "clock"
--- @include "integer"
--- @include "guard"
--- @include "parse_hold"
--- @include "move_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, limit = ARGV[1], integer(ARGV[2], 1, 1000)

local lane = redis.call('HMGET', meta, 'epoch', 'state')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not limit then
  return {'BAD_ARGUMENT'}
end
if lane[2] ~= 'cancelled' then
  return {'ILLEGAL'}
end
local live = redis.call('ZRANGE', deadlines, 0, limit - 1)
if #live > 0 then
  local keys = {meta = meta, stock = stock, holds = holds,
    deadlines = deadlines, buyers = buyers, events = events}
  local moves = {}
  for index, record in ipairs(redis.call('HMGET', holds, unpack(live))) do
    moves[index] = {order = live[index], hold = parse_hold(record), letter = 'C'}
  end
  move_holds(moves, keys, epoch, clock())
end
return {'DONE', #live}
