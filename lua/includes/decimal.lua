--- An integer as text. Concatenation would turn large numbers into 1.79e+15.
local function decimal(number)
  return string.format('%d', number)
end
