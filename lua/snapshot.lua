#!lua flags=no-writes
--- Purpose: everything countable of a lane at one instant, for audits, reports and public reads.
--- Touches: INV-1
--- KEYS: 1 meta hash; 2 stock hash; 3 holds hash; 4 deadlines zset; 5 events stream
--- ARGV: none
--- Returns: MISSING_LANE | DONE epoch seq now_ms state starts_at_ms ends_at_ms buyer_limit hold_ms
---   hold_records live_holds stream_length last_entry_id items shut (item numbers
---   between commas), then for each item capacity available held paying sold
--- Emits: nothing
--- Cost: a handful of constant-time reads
--- @include "clock"
local meta, stock, holds, deadlines, events = unpack(KEYS)

local lane = redis.call('HMGET', meta, 'epoch', 'seq', 'state', 'starts_at_ms', 'ends_at_ms',
  'buyer_limit', 'hold_ms', 'items', 'shut')
if not lane[1] then
  return {'MISSING_LANE'}
end
local last_entry_id, length = '0-0', redis.call('XLEN', events)
if redis.call('EXISTS', events) == 1 then
  local info = redis.call('XINFO', 'STREAM', events)
  for index = 1, #info - 1, 2 do
    if info[index] == 'last-generated-id' then
      last_entry_id = info[index + 1]
    end
  end
end
local reply = {'DONE', tonumber(lane[1]), tonumber(lane[2]), clock(), lane[3], tonumber(lane[4]),
  tonumber(lane[5]), tonumber(lane[6]), tonumber(lane[7]), redis.call('HLEN', holds),
  redis.call('ZCARD', deadlines), length, last_entry_id, tonumber(lane[8]), lane[9] or ''}
for item = 0, tonumber(lane[8]) - 1 do
  local counters = redis.call('HMGET', stock, 'capacity:' .. item, 'available:' .. item,
    'held:' .. item, 'paying:' .. item, 'sold:' .. item)
  for index = 1, 5 do
    reply[#reply + 1] = tonumber(counters[index])
  end
end
return reply
