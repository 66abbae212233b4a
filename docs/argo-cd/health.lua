-- The health of a SnakePool, for Argo CD: resource.customizations.health.snakepit.dev_SnakePool in the ConfigMap argocd-cm.
local function said(status, message)
  return { status = status, message = message }
end

local status = obj.status
if status == nil or status.conditions == nil or status.observedGeneration ~= obj.metadata.generation then
  return said("Progressing", "the operator has not looked at this generation yet")
end
local found = {}
for _, each in ipairs(status.conditions) do
  found[each.type] = each
end
for _, name in ipairs({ "Stalled", "Degraded" }) do
  if found[name] ~= nil and found[name].status == "True" then
    return said("Degraded", found[name].reason .. ": " .. found[name].message)
  end
end
local ready = found.Ready
if ready == nil or ready.status ~= "True" then
  return said("Progressing", ready ~= nil and ready.message or "it has no condition Ready")
end
if obj.spec.suspended or (found.Progressing ~= nil and found.Progressing.reason == "RolloutPaused") then
  return said("Suspended", ready.message)
end
return said("Healthy", ready.message)
