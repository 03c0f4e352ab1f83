#!lua flags=no-writes
--- Purpose: where a lane stands, and what was appended since a reader last looked.
--- Touches: INV-13
--- KEYS: 1 meta hash; 2 stock hash; 3 events stream
--- ARGV: 1 epoch integer; 2 after string: the last entry id read, or - for no entries;
---   3 limit integer entries
--- Returns: MISSING_LANE | FOREIGN_EPOCH | BAD_ARGUMENT |
---   DONE seq now_ms state starts_at_ms ends_at_ms buyer_limit items,
---   for each item capacity available, then for each entry id seq events
--- Emits: nothing
--- Cost: constant, and one range read of at most limit entries
--- @include "clock"
--- @include "integer"
--- @include "guard"
local meta, stock, events = unpack(KEYS)
local epoch, after, limit = ARGV[1], ARGV[2], integer(ARGV[3], 1, 10000)

local lane = redis.call('HMGET', meta, 'epoch', 'seq', 'state', 'starts_at_ms', 'ends_at_ms',
  'items', 'buyer_limit')
local refusal = guard(lane[1], epoch)
if refusal then
  return {refusal}
end
if not limit or (after ~= '-' and not string.match(after, '^%d+%-%d+$')) then
  return {'BAD_ARGUMENT'}
end
local reply = {'DONE', tonumber(lane[2]), clock(), lane[3], tonumber(lane[4]), tonumber(lane[5]),
  tonumber(lane[7]), tonumber(lane[6])}
for item = 0, tonumber(lane[6]) - 1 do
  local counters = redis.call('HMGET', stock, 'capacity:' .. item, 'available:' .. item)
  reply[#reply + 1] = tonumber(counters[1])
  reply[#reply + 1] = tonumber(counters[2])
end
if after ~= '-' then
  for _, entry in ipairs(redis.call('XRANGE', events, '(' .. after, '+', 'COUNT', limit)) do
    reply[#reply + 1] = entry[1]
    reply[#reply + 1] = tonumber(entry[2][2])
    reply[#reply + 1] = entry[2][10]
  end
end
return reply
