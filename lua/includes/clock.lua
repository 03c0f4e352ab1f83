--- Redis' own clock in milliseconds, read once a script: the only clock that decides a window.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
