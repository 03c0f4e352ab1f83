#!lua flags=allow-oom
--- Purpose: ends what is overdue, so much a call, oldest first: a hold, or a checkout whose hold
---   may have time left.
--- Touches: INV-1 INV-3 INV-5 INV-7 INV-18
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 limit integer holds
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   DONE ended next_deadline_ms (0: no hold)
--- Emits: one entry with an X line for each hold that ends and a D line for each that goes on,
---   or nothing
--- Cost: three reads and six writes for each hold
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "parse_hold"
--- @include "move_holds"
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
  local moves = {}
  for index, record in ipairs(redis.call('HMGET', holds, unpack(due))) do
    local hold = parse_hold(record)
    local move = {order = due[index], hold = hold, letter = 'X'}
    if hold.state == 'P' and hold.deadline_ms > now_ms then
      move.letter, move.kind, move.due_ms = 'R', 'D', hold.deadline_ms
    end
    moves[index] = move
  end
  move_holds(moves, keys, epoch, now_ms)
end
local next_hold = redis.call('ZRANGE', deadlines, 0, 0, 'WITHSCORES')
return {'DONE', #due, tonumber(next_hold[2] or 0)}
