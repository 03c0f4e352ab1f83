--- Moves orders on: units to another counter, the buyer's count, the record, the deadline, a line.
--- A move is an order with its hold: `letter` is the new one, `kind` the event's where it differs,
--- `item` the new SKU where it changes, `due_ms` the deadline of what goes on being held.
--- @include "decimal"
--- @include "append_entry"
local function move_holds(moves, keys, epoch, now_ms)
  local homes = {R = 'held:', P = 'paying:', S = 'sold:', E = 'sold:'}
  -- Written out before the first write: a damaged record stops the call while nothing has changed.
  local records, lines = {}, {}
  for index, move in ipairs(moves) do
    local hold, version = move.hold, decimal(move.hold.version + 1)
    local units = {decimal(move.item or hold.item), decimal(hold.quantity),
      decimal(hold.deadline_ms), hold.buyer}
    records[index] = move.letter .. ':' .. version .. ':' .. table.concat(units, ':')
    lines[index] = table.concat({move.kind or move.letter, version, move.order}, '\t')
      .. '\t' .. table.concat(units, '\t')
  end
  for index, move in ipairs(moves) do
    local hold, quantity = move.hold, decimal(move.hold.quantity)
    local before, after = homes[hold.state], homes[move.letter]
    local from, to = decimal(hold.item), decimal(move.item or hold.item)
    redis.call('HINCRBY', keys.stock, (before or 'available:') .. from, '-' .. quantity)
    redis.call('HINCRBY', keys.stock, (after or 'available:') .. to, quantity)
    if from ~= to then
      redis.call('HINCRBY', keys.stock, 'available:' .. from, quantity)
      redis.call('HINCRBY', keys.stock, 'available:' .. to, '-' .. quantity)
    end
    if before and not after then
      redis.call('HINCRBY', keys.buyers, hold.buyer, '-' .. quantity)
    elseif after and not before then
      redis.call('HINCRBY', keys.buyers, hold.buyer, quantity)
    end
    if move.due_ms then
      redis.call('ZADD', keys.deadlines, decimal(move.due_ms), move.order)
    else
      redis.call('ZREM', keys.deadlines, move.order)
    end
    redis.call('HSET', keys.holds, move.order, records[index])
  end
  append_entry(keys.meta, keys.stock, keys.events, epoch, now_ms, lines)
  return records
end
