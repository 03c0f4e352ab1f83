#!lua flags=allow-oom
--- Purpose: drops entries that every group has read and acknowledged, and no other.
--- Touches: INV-15
--- KEYS: 1 events stream
--- ARGV: none
--- Returns: DONE removed
--- Emits: nothing
--- Cost: proportional to what is removed
--- @include "decimal"
local events = KEYS[1]

if redis.call('EXISTS', events) == 0 then
  return {'DONE', 0}
end
-- Entry ids compare as pairs of numbers.
local function before(left, right)
  local left_ms, left_seq = string.match(left, '^(%d+)-(%d+)$')
  local right_ms, right_seq = string.match(right, '^(%d+)-(%d+)$')
  if left_ms ~= right_ms then
    return tonumber(left_ms) < tonumber(right_ms)
  end
  return tonumber(left_seq) < tonumber(right_seq)
end
local boundary
for _, group in ipairs(redis.call('XINFO', 'GROUPS', events)) do
  local facts = {}
  for index = 1, #group - 1, 2 do
    facts[group[index]] = group[index + 1]
  end
  local keep
  if facts['pending'] > 0 then
    keep = redis.call('XPENDING', events, facts['name'])[2]
  else
    local ms, seq = string.match(facts['last-delivered-id'], '^(%d+)-(%d+)$')
    keep = ms .. '-' .. decimal(tonumber(seq) + 1)
  end
  if not boundary or before(keep, boundary) then
    boundary = keep
  end
end
if not boundary then
  return {'DONE', 0}
end
return {'DONE', redis.call('XTRIM', events, 'MINID', boundary)}
