-- Posts the bodies of the benchmark's image set, one after the other. Started by run.sh.
-- BODIES is a folder of files that each hold one JSON body.

local bodies = {}
local threads = 0

function setup(thread)
  thread:set("first", threads)
  threads = threads + 1
end

function init(args)
  local folder = os.getenv("BODIES") or error("BODIES is not set: start this with run.sh")
  for name in io.popen('ls "' .. folder .. '"'):lines() do
    local file = assert(io.open(folder .. "/" .. name, "rb"))
    bodies[#bodies + 1] = file:read("*a")
    file:close()
  end
  -- Threads start at different images, so that they do not send the same one at the same time.
  turn = first * 5
  headers = { ["Content-Type"] = "application/json" }
end

function request()
  turn = turn + 1
  return wrk.format("POST", "/ocr", headers, bodies[(turn - 1) % #bodies + 1])
end

function done(summary, latency, requests)
  local seconds = summary.duration / 1e6
  io.write(string.format("requests/s %.3f  p50 %.0f ms  p90 %.0f ms  p99 %.0f ms  max %.0f ms\n",
    summary.requests / seconds, latency:percentile(50) / 1e3, latency:percentile(90) / 1e3,
    latency:percentile(99) / 1e3, latency.max / 1e3))
  io.write(string.format("errors: status %d, connect %d, read %d, write %d, timeout %d\n",
    summary.errors.status, summary.errors.connect, summary.errors.read, summary.errors.write,
    summary.errors.timeout))
end
