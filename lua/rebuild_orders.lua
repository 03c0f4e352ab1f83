#!lua
--- Purpose: puts orders back into a lane that is being rebuilt, live and ended ones alike.
--- Touches: INV-1 INV-7 INV-9 INV-10
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash
--- ARGV: 1 epoch integer; 2 count integer orders; then for each order
---   order string hash; letter string; version integer; item integer; quantity integer units;
---   deadline_ms integer; due_ms integer (0: nothing ends it by the clock); buyer string id
--- Returns: MISSING_LANE | FOREIGN_EPOCH (not being rebuilt for it) | BAD_ARGUMENT order |
---   DONE added
--- Emits: nothing
--- Cost: one read and three writes for each order
--- @include "integer"
--- @include "guard"
local meta, stock, holds, deadlines, buyers = unpack(KEYS)
local epoch, count = ARGV[1], integer(ARGV[2], 1, 512)

local lane = redis.call('HMGET', meta, 'epoch', 'items')
local refusal = guard(lane[1], '-' .. epoch)
if refusal then
  return {refusal}
end
if not count or #ARGV ~= 2 + count * 8 then
  return {'BAD_ARGUMENT', 0}
end
-- The counter that an order's units stand in; those of an ended one are back on sale.
local counters = {R = 'held:', P = 'paying:', S = 'sold:', E = 'sold:',
  X = '', C = '', J = '', F = '', L = ''}
for index = 1, count do
  local at = index * 8 - 5
  if not counters[ARGV[at + 1]] or not integer(ARGV[at + 2], 1, 1e9)
    or not integer(ARGV[at + 3], 0, tonumber(lane[2]) - 1) or not integer(ARGV[at + 4], 1, 1e9)
    or not integer(ARGV[at + 5], 0, 1e15) or not integer(ARGV[at + 6], 0, 1e15) then
    return {'BAD_ARGUMENT', index}
  end
end
local added = 0
for index = 1, count do
  local at = index * 8 - 5
  local order, letter, version, item, quantity, deadline_ms, due_ms, buyer =
    unpack(ARGV, at, at + 7)
  local record = table.concat({letter, version, item, quantity, deadline_ms, buyer}, ':')
  -- A call may be repeated after its answer was lost: an order is counted once.
  if redis.call('HSETNX', holds, order, record) == 1 then
    added = added + 1
    local counter = counters[letter]
    if counter ~= '' then
      redis.call('HINCRBY', stock, counter .. item, quantity)
      redis.call('HINCRBY', buyers, buyer, quantity)
    else
      redis.call('HSETNX', buyers, buyer, '0')
    end
    if due_ms ~= '0' then
      redis.call('ZADD', deadlines, due_ms, order)
    end
  end
end
return {'DONE', added}
