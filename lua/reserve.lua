#!lua
--- Purpose: decides a whole batch of buyers in one call, as if they had come one after another.
--- Touches: INV-1 INV-3 INV-7 INV-10 INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 buyers hash; 6 events stream
--- ARGV: 1 epoch integer; 2 count integer requests; then for each request
---   order string hash; buyer string id; item integer (-1: no such SKU); quantity integer units
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT request, or DONE now_ms seq and for
---   each request, in check order: REPLAYED record | KEY_REUSED 0 | SALE_OVER 0 |
---   NOT_OPEN starts_at_ms | PAUSED 0 | UNKNOWN_SKU 0 | LIMIT_REACHED 0 | SOLD_OUT 0 |
---   RESERVED deadline_ms
--- Emits: one entry with an R line for each hold, or nothing
--- Cost: six reads and six writes a batch, whatever its size
--- @include "clock"
--- @include "integer"
--- @include "decimal"
--- @include "guard"
--- @include "append_entry"
--- @include "window"
local meta, stock, holds, deadlines, buyers, events = unpack(KEYS)
local epoch, count = ARGV[1], integer(ARGV[2], 1, 512)

local lane = redis.call('HMGET', meta, 'epoch', 'state', 'starts_at_ms', 'ends_at_ms',
  'buyer_limit', 'hold_ms', 'items', 'seq', 'shut')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not count or #ARGV ~= 2 + count * 4 then
  return {'BAD_ARGUMENT', 0}
end

local requested, names, quantities, items = {}, {}, {}, {}
for request = 1, count do
  local at = request * 4 - 2
  requested[request], names[request] = ARGV[at + 1], ARGV[at + 2]
  items[request] = integer(ARGV[at + 3], -1, 999)
  quantities[request] = integer(ARGV[at + 4], 1, 1000000000)
  if not items[request] or not quantities[request] then
    return {'BAD_ARGUMENT', request}
  end
end

local now_ms = clock()
local closed, opens_at_ms = window(lane[2], lane[3], lane[4], now_ms)
local buyer_limit, item_count, shut = tonumber(lane[5]), tonumber(lane[7]), lane[9]
local deadline_ms = now_ms + tonumber(lane[6])
local deadline = decimal(deadline_ms)

local records = redis.call('HMGET', holds, unpack(requested))
local counts, available, held = {}, {}, {}
if not closed then
  for request, number in ipairs(redis.call('HMGET', buyers, unpack(names))) do
    counts[names[request]] = tonumber(number or 0)
  end
  local fields = {}
  for item = 0, item_count - 1 do
    fields[item * 2 + 1], fields[item * 2 + 2] = 'available:' .. item, 'held:' .. item
  end
  local counters = redis.call('HMGET', stock, unpack(fields))
  for item = 0, item_count - 1 do
    available[item], held[item] = tonumber(counters[item * 2 + 1]), tonumber(counters[item * 2 + 2])
  end
end

-- Decide each in turn on local values; nothing is written yet.
local fresh, reply = {}, {'DONE', now_ms, tonumber(lane[8])}
local hold_writes, deadline_writes, buyer_writes, lines, touched = {}, {}, {}, {}, {}
for request = 1, count do
  local order, buyer = requested[request], names[request]
  local item, quantity = items[request], quantities[request]
  local record = fresh[order] or records[request]
  local status, detail
  if record then
    local held_item, held_quantity = string.match(record, '^%a:%d+:(%d+):(%d+):')
    if tonumber(held_item) == item and tonumber(held_quantity) == quantity then
      status, detail = 'REPLAYED', record
    else
      status, detail = 'KEY_REUSED', 0
    end
  elseif closed then
    status, detail = closed, opens_at_ms
  elseif shut and string.find(shut, ',' .. ARGV[request * 4 + 1] .. ',', 1, true) then
    status, detail = 'PAUSED', 0
  elseif item < 0 or item >= item_count then
    status, detail = 'UNKNOWN_SKU', 0
  elseif counts[buyer] + quantity > buyer_limit then
    status, detail = 'LIMIT_REACHED', 0
  elseif available[item] < quantity then
    status, detail = 'SOLD_OUT', 0
  else
    status, detail = 'RESERVED', deadline_ms
    counts[buyer] = counts[buyer] + quantity
    available[item], held[item] = available[item] - quantity, held[item] + quantity
    touched[item] = true
    local units = {ARGV[request * 4 + 1], ARGV[request * 4 + 2], deadline, buyer}
    fresh[order] = 'R:1:' .. table.concat(units, ':')
    local n = #lines
    hold_writes[n * 2 + 1], hold_writes[n * 2 + 2] = order, fresh[order]
    deadline_writes[n * 2 + 1], deadline_writes[n * 2 + 2] = deadline, order
    buyer_writes[n * 2 + 1], buyer_writes[n * 2 + 2] = buyer, counts[buyer]
    lines[n + 1] = 'R\t1\t' .. order .. '\t' .. table.concat(units, '\t')
  end
  reply[request * 2 + 2], reply[request * 2 + 3] = status, detail
end

if #lines > 0 then
  local stock_writes = {}
  for item in pairs(touched) do
    local n = #stock_writes
    stock_writes[n + 1], stock_writes[n + 2] = 'available:' .. item, decimal(available[item])
    stock_writes[n + 3], stock_writes[n + 4] = 'held:' .. item, decimal(held[item])
  end
  redis.call('HSET', stock, unpack(stock_writes))
  redis.call('HSET', holds, unpack(hold_writes))
  redis.call('ZADD', deadlines, unpack(deadline_writes))
  redis.call('HSET', buyers, unpack(buyer_writes))
  reply[3] = append_entry(meta, stock, events, epoch, now_ms, lines)
end
return reply
