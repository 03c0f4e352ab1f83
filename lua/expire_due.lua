#!lua flags=allow-oom
--- Purpose: ends holds whose deadline has passed, a bounded number a call, oldest first.
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-18
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 limit integer holds
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   DONE expired next_deadline_ms (0: no hold)
--- Emits: one entry with an X line for each hold, or nothing
--- Cost: three reads and five writes for each hold ended
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "end_holds"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, limit = ARGV[1], integer(ARGV[2], 1, 1000)

local refusal = guard(redis.call('HGET', meta, 'epoch'), epoch)
if refusal then
  return {refusal}
end
if not limit then
  return {'BAD_ARGUMENT'}
end
local now_ms = clock()
local due = redis.call('ZRANGEBYSCORE', deadlines, '-inf', decimal(now_ms), 'LIMIT', 0, limit)
if #due > 0 then
  local keys = {meta = meta, stock = stock, holds = holds,
    deadlines = deadlines, buyers = buyers, events = events}
  end_holds('X', due, redis.call('HMGET', holds, unpack(due)), keys, epoch, now_ms)
end
local next_hold = redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')
return {'DONE', #due, tonumber(next_hold[2] or 0)}
