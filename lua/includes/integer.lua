--- An argument as an integer within bounds, else nil. NaN passes no comparison and so is refused.
--- Only the plain spelling is taken: scripts store the text, and 0x10 or 1e3 would not read back.
local function integer(text, low, high)
  local number = tonumber(text)
  if number and number >= low and number <= high and string.format('%d', number) == text then
    return number
  end
  return nil
end
