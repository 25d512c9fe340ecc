math.randomseed(7)
local agents = { "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0", "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_5) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", "curl/8.5.0", "kube-probe/1.30", "python-requests/2.32.3" }
local paths = { "/index.html", "/index.html", "/index.html", "/about.html", "/pricing.html", "/docs.html", "/blog.html?page=%d", "/api/users?id=%d", "/api/users?id=%d", "/api/orders?id=%d", "/api/items?q=%d", "/api/search?q=%d", "/old", "/missing/%d", "/private" }
local broken = { "/checkout?cart=%d", "/broken", "/maintenance" }
request = function()
  local path
  if math.random() < 0.02 then path = broken[math.random(#broken)] else path = paths[math.random(#paths)] end
  path = string.format(path, math.random(1, 99999))
  local method = math.random() < 0.1 and path:find("^/api") and "POST" or "GET"
  return wrk.format(method, path, { ["User-Agent"] = agents[math.random(#agents)], ["Referer"] = math.random() < 0.3 and "https://example.com/" or nil }, method == "POST" and "{}" or nil)
end
