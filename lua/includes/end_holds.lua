--- Ends live holds (letter X, C or J): units back to sale, the buyer's count down, the record kept.
--- @include "decimal"
--- @include "append_entry"
--- @include "parse_hold"
local function end_holds(letter, orders, records, keys, epoch, now_ms)
  local lines = {}
  for index, order in ipairs(orders) do
    local hold = parse_hold(records[index])
    local version, quantity = decimal(hold.version + 1), decimal(hold.quantity)
    local item, deadline_ms = decimal(hold.item), decimal(hold.deadline_ms)
    redis.call('HINCRBY', keys.stock, 'available:' .. item, quantity)
    redis.call('HINCRBY', keys.stock, 'held:' .. item, '-' .. quantity)
    redis.call('HINCRBY', keys.buyers, hold.buyer, '-' .. quantity)
    redis.call('ZREM', keys.deadlines, order)
    redis.call('HSET', keys.holds, order,
      table.concat({letter, version, item, quantity, deadline_ms, hold.buyer}, ':'))
    lines[index] = table.concat({letter, version, order, item, quantity, deadline_ms, hold.buyer}, '\t')
  end
  return append_entry(keys.meta, keys.stock, keys.events, epoch, now_ms, lines)
end
