--- Why a lane takes no command: it is not there, or recovery has moved on to another epoch.
local function guard(found, epoch)
  if not found then
    return 'MISSING_LANE'
  end
  if found ~= epoch then
    return 'FOREIGN_EPOCH'
  end
  return nil
end
