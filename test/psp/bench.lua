-- Payments for wrk: creates and confirms a payment intent, then captures it,
-- each with its own idempotency key.
--
--	wrk -t1 -c16 -d10s -s bench.lua http://127.0.0.1:PORT

local run = tostring(os.time()) .. "-" .. tostring(math.random(1000000))
local made = 0
local authorized = {}

wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer sk_test_bench"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"

function request()
	made = made + 1
	wrk.headers["Idempotency-Key"] = run .. "-" .. made

	local id = table.remove(authorized)
	if id then
		return wrk.format(nil, "/v1/payment_intents/" .. id .. "/capture",
			nil, "amount_to_capture=2900")
	end
	return wrk.format(nil, "/v1/payment_intents", nil,
		"amount=2900&currency=eur&capture_method=manual&confirm=true" ..
		"&payment_method=pm_card_visa&metadata[order]=ORDER-" .. made)
end

function response(status, headers, body)
	local id = body:match('"id":"(pi_[^"]+)"')
	if id and body:find('"status":"requires_capture"', 1, true) then
		authorized[#authorized + 1] = id
	end
end
