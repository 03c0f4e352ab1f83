--- A hold's record taken apart: state letter, version, item, quantity, deadline, buyer.
local function parse_hold(record)
  local state, version, item, quantity, deadline_ms, buyer =
    string.match(record, '^(%a):(%d+):(%d+):(%d+):(%d+):(.*)$')
  return {
    state = state, version = tonumber(version), item = tonumber(item),
    quantity = tonumber(quantity), deadline_ms = tonumber(deadline_ms), buyer = buyer,
  }
end
