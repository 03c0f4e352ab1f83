--- Why a lane takes no reservation now, and from when it will (0: not by waiting); else nil.
local function window(state, starts_at_ms, ends_at_ms, now_ms)
  if state == 'closed' or state == 'cancelled' or now_ms >= tonumber(ends_at_ms) then
    return 'SALE_OVER', 0
  end
  if now_ms < tonumber(starts_at_ms) then
    return 'NOT_OPEN', tonumber(starts_at_ms)
  end
  if state == 'paused' then
    return 'PAUSED', 0
  end
  return nil, 0
end
