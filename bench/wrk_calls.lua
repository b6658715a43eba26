-- Posts calls from a file with wrk, over and over. Arguments after "--": the file, and the path to post to.
-- A line of the file is one call: headers as "name=value", then the body, parted by tabs.

local calls = {}

function init(args)
  for line in io.lines(args[1]) do
    local parts = {}
    for part in line:gmatch("[^\t]+") do
      parts[#parts + 1] = part
    end
    local headers = {}
    for i = 1, #parts - 1 do
      local name, value = parts[i]:match("^([^=]+)=(.*)$")
      headers[name] = value
    end
    calls[#calls + 1] = wrk.format("POST", args[2], headers, parts[#parts])
  end
end

local number = 0

function request()
  number = number % #calls + 1
  return calls[number]
end

function done(summary, latency, requests)
  local bad = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
  io.write(string.format(
    '\nRESULT {"requests":%d,"seconds":%.3f,"bad":%d,"timeouts":%d,"p50_ms":%.1f,"p99_ms":%.1f,"max_ms":%.1f}\n',
    summary.requests, summary.duration / 1e6, bad, summary.errors.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency.max / 1000))
end
