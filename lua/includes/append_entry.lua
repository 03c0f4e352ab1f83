--- Appends the one stream entry of this script call and counts it.
local function append_entry(meta, stock, events, epoch, now_ms, lines, id)
  local fields = {}
  for item = 0, tonumber(redis.call('HGET', meta, 'items')) - 1 do
    fields[item + 1] = 'available:' .. item
  end
  local available = redis.call('HMGET', stock, unpack(fields))
  local seq = redis.call('HINCRBY', meta, 'seq', 1)
  redis.call('XADD', events, id or '*', 'seq', string.format('%d', seq), 'epoch', epoch,
    'at_ms', string.format('%d', now_ms), 'available', table.concat(available, ','),
    'events', table.concat(lines, '\n'))
  return seq
end
