--- The record of a buyer's order, as it stands and taken apart; nil for another buyer's.
--- @include "parse_hold"
local function find_hold(holds, order, buyer)
  local record = redis.call('HGET', holds, order)
  local hold = record and parse_hold(record)
  if not hold or hold.buyer ~= buyer then
    return nil
  end
  return record, hold
end
