#!lua
--- Purpose: takes units from the common pots of rate limits: GCRA on Redis' clock, many at once.
--- Touches: no invariant: no sale reads what is here, and all of it may be lost.
--- KEYS: of each pot one string: until when it is spoken for, Unix microseconds
--- ARGV: for each pot milli integer units a 1,000 s; burst integer units; asked integer units
--- Returns: BAD_ARGUMENT | DONE, then of each pot: granted units, microseconds until the next
---   one (0: everything was granted)
--- Emits: nothing
--- Cost: a read and at most a write for each pot
local function number(text)
  local value = tonumber(text)
  return value and value >= 1 and value <= 1e9 and math.floor(value) == value and value
end

local pots = {}
if #ARGV ~= 3 * #KEYS then
  return {'BAD_ARGUMENT'}
end
for at = 1, #KEYS do
  local milli, burst = number(ARGV[3 * at - 2]), number(ARGV[3 * at - 1])
  local asked = number(ARGV[3 * at])
  if not (milli and burst and asked) then
    return {'BAD_ARGUMENT'}
  end
  pots[at] = {milli = milli, burst = burst, asked = asked}
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1e6 + tonumber(time[2])
local reply = {'DONE'}
for at, pot in ipairs(pots) do
  -- Where two asks name one pot, the second one finds what the first has left.
  local tat = math.max(tonumber(redis.call('GET', KEYS[at]) or 0), now)
  local room = math.floor((now - tat) * pot.milli / 1e9 + pot.burst)
  local granted = math.min(pot.asked, math.max(0, room))
  local wait = 0
  if granted > 0 then
    tat = tat + math.ceil(granted * 1e9 / pot.milli)
    -- From then on the pot is full, which is what a key that is not there means.
    local keep_ms = string.format('%d', math.ceil((tat - now) / 1000))
    redis.call('SET', KEYS[at], string.format('%d', tat), 'PX', keep_ms)
  end
  if granted < pot.asked then
    wait = math.max(1, math.ceil(tat - (pot.burst - 1) * 1e9 / pot.milli - now))
  end
  reply[#reply + 1] = granted
  reply[#reply + 1] = wait
end
return reply
