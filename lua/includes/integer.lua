--- An argument as an integer within bounds, else nil. NaN passes no comparison and so is refused.
local function integer(text, low, high)
  local number = tonumber(text)
  if number and number >= low and number <= high and number % 1 == 0 then
    return number
  end
  return nil
end
