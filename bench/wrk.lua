-- Posts mails with wrk. Arguments after "--": the API key, and how many mails are in one request.
-- Each thread counts for itself; `done` prints one JSON line for the bench to read.

local threads = 0

function setup(thread)
  thread:set("number", threads * 1000000000)
  threads = threads + 1
end

function init(args)
  batch = tonumber(args[2])
  headers = { ["authorization"] = "Bearer " .. args[1], ["content-type"] = "application/json" }
  path = batch > 1 and "/v1/emails/batch" or "/v1/emails"
end

local MAIL = '{"from":"Shop <orders@shop.example>","to":"buyer%d@sink.sim.test","template":{"key":"bench",'
  .. '"variables":{"name":"Buyer %d","token":"t%d","items":[{"title":"A thing","price":"9.00"}]}}}'

local function mail()
  number = number + 1
  return MAIL:format(number, number, number)
end

function request()
  if batch == 1 then
    return wrk.format("POST", path, headers, mail())
  end
  local mails = {}
  for i = 1, batch do
    mails[i] = mail()
  end
  return wrk.format("POST", path, headers, "[" .. table.concat(mails, ",") .. "]")
end

function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.3f,"bad":%d,"timeouts":%d,"p50_ms":%.1f,"p99_ms":%.1f,"max_ms":%.1f}\n',
    summary.requests, summary.duration / 1e6, bad, summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
