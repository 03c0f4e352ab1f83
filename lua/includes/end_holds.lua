--- Ends live holds (letter X, C or J): units back to sale, the buyer's count down, the record kept.
--- @include "decimal"
--- @include "append_entry"
--- @include "parse_hold"
local function end_holds(letter, orders, records, keys, epoch, now_ms)
  -- Taken apart before the first write: a damaged record stops the call while nothing has changed.
  local ended, lines = {}, {}
  for index, order in ipairs(orders) do
    local hold = parse_hold(records[index])
    local version, quantity = decimal(hold.version + 1), decimal(hold.quantity)
    local item, deadline_ms = decimal(hold.item), decimal(hold.deadline_ms)
    ended[index] = {order = order, buyer = hold.buyer, item = item, quantity = quantity,
      record = table.concat({letter, version, item, quantity, deadline_ms, hold.buyer}, ':')}
    lines[index] = table.concat(
      {letter, version, order, item, quantity, deadline_ms, hold.buyer}, '\t')
  end
  for _, hold in ipairs(ended) do
    redis.call('HINCRBY', keys.stock, 'available:' .. hold.item, hold.quantity)
    redis.call('HINCRBY', keys.stock, 'held:' .. hold.item, '-' .. hold.quantity)
    redis.call('HINCRBY', keys.buyers, hold.buyer, '-' .. hold.quantity)
    redis.call('ZREM', keys.deadlines, hold.order)
    redis.call('HSET', keys.holds, hold.order, hold.record)
  end
  return append_entry(keys.meta, keys.stock, keys.events, epoch, now_ms, lines)
end
