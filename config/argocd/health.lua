if obj.spec ~= nil and obj.spec.suspend then
  return { status = "Suspended", message = "spec.suspend is set" }
end
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for this generation to be observed" }
end
-- Consumers have lost the content, even if the operator tries again.
local is_withdrawn = status.candidate ~= nil and status.candidate.withdrawn == true
local health = { status = "Progressing", message = "Waiting for the condition Ready" }
for _, condition in ipairs(status.conditions or {}) do
  local message = (condition.reason or "") .. ": " .. (condition.message or "")
  if condition.type == "Stalled" and condition.status == "True" then
    return { status = "Degraded", message = message }
  elseif condition.type == "Ready" and condition.status == "True" then
    health = { status = "Healthy", message = message }
  elseif condition.type == "Ready" then
    health = { status = is_withdrawn and "Degraded" or "Progressing", message = message }
  end
end
return health
