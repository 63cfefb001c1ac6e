-- Payments for wrk at Adyen: authorizes, then captures, each with its own
-- idempotency key.
--
--	wrk -t1 -c16 -d10s -s adyen_bench.lua http://127.0.0.1:PORT

local run = tostring(os.time()) .. "-" .. tostring(math.random(1000000))
local made = 0
local authorized = {}
local amount = '"amount":{"currency":"EUR","value":2900},' ..
	'"merchantAccount":"Marketplace",'

wrk.method = "POST"
wrk.headers["X-API-Key"] = "sk_test_bench"
wrk.headers["Content-Type"] = "application/json"

function request()
	made = made + 1
	wrk.headers["Idempotency-Key"] = run .. "-" .. made

	local reference = '"reference":"pl_' .. made .. '_1"'
	local id = table.remove(authorized)
	if id then
		return wrk.format(nil, "/v71/payments/" .. id .. "/captures", nil,
			"{" .. amount .. reference .. "}")
	end
	return wrk.format(nil, "/v71/payments", nil, "{" .. amount .. reference ..
		',"returnUrl":"https://shop.example/back","paymentMethod":' ..
		'{"type":"scheme","storedPaymentMethodId":"authorised"}}')
end

function response(status, headers, body)
	local id = body:match('"pspReference":"([^"]+)"')
	if id and body:find('"resultCode":"Authorised"', 1, true) then
		authorized[#authorized + 1] = id
	end
end
