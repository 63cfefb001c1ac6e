-- Payment intents: the right ones, and every wrong argument with its SQLSTATE.
\set VERBOSITY terse
SELECT gateway, adapter, is_default FROM payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
-- a lease outlives the longest call by 5 seconds
SELECT outcome($$SELECT payledger.alter_gateway('sandbox', '{"timeout_ms": 25001, "lease_seconds": 30}')$$);
SELECT gateway FROM payledger.alter_gateway('sandbox', '{"timeout_ms": 25000, "lease_seconds": 30}');
SELECT gateway FROM payledger.alter_gateway('sandbox', '{"timeout_ms": null, "lease_seconds": null}');
SELECT * FROM payledger.register_seller('SELLER-111', 'EUR', commission_bps => 1000);
SELECT * FROM payledger.register_seller('SELLER-111', 'EUR', commission_bps => 1000);
SELECT * FROM payledger.register_seller('SELLER-222', 'EUR');
SELECT * FROM payledger.register_seller('SELLER-JPY', 'JPY', commission_fixed => 30);
SELECT * FROM payledger.register_seller('SELLER-OFF', 'EUR');
SELECT * FROM payledger.update_seller('SELLER-OFF', 'EUR', status => 'SUSPENDED');

SELECT outcome($$SELECT payledger.register_seller('SELLER-111', 'EUR', commission_bps => 5)$$);
SELECT outcome($$SELECT payledger.register_seller('SELLER-111', 'EURO')$$);
SELECT outcome($$SELECT payledger.register_seller('A.B', 'EUR')$$);
SELECT outcome($$SELECT payledger.register_seller('', 'EUR')$$);
SELECT outcome($$SELECT payledger.register_seller(NULL, 'EUR')$$);
SELECT outcome($$SELECT payledger.register_seller('X', 'EUR', commission_bps => 10001)$$);
SELECT outcome($$SELECT payledger.register_seller('X', 'EUR', commission_fixed => -1)$$);
SELECT outcome($$SELECT payledger.update_seller('NOBODY', 'EUR', status => 'ACTIVE')$$);
SELECT outcome($$SELECT payledger.update_seller('SELLER-111', 'EUR', status => 'ASLEEP')$$);

SELECT order_id, buyer_id, currency, total_amount, status, capture_method, gateway, next_action, metadata
  FROM payledger.create_payment_intent('ORDER-1', 'BUYER-1', 'EUR',
	'[{"seller_id":"SELLER-111","amount":1450},{"seller_id":"SELLER-222","amount":1450}]',
	metadata => '{"cart": 7}');

CREATE FUNCTION create_with(lines text, currency text DEFAULT 'EUR', more text DEFAULT '') RETURNS SETOF text LANGUAGE sql AS
$$ SELECT outcome(format('SELECT payledger.create_payment_intent(''O'', ''B'', %L, %L%s)', currency, lines, more)) $$;

-- lines
SELECT create_with('[]');
SELECT create_with('{}');
SELECT create_with('"x"');
SELECT create_with('[1]');
SELECT create_with('[[]]');
SELECT create_with('[{"amount":1}]');
SELECT create_with('[{"seller_id":5,"amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111"}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":"5"}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":0}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":-1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1.5}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1e300}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":9223372036854775808}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1,"currency":"USD"}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1},{"seller_id":"SELLER-222","amount":2},{"seller_id":"SELLER-111","amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":9223372036854775807},{"seller_id":"SELLER-222","amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":9223372036854775807}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1000000000000001}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1000000000000000},{"seller_id":"SELLER-222","amount":1}]');
BEGIN;
SELECT create_with('[{"seller_id":"SELLER-111","amount":999999999999999},{"seller_id":"SELLER-222","amount":1}]');
ROLLBACK;
SELECT create_with((SELECT jsonb_agg(jsonb_build_object('seller_id', 'S' || n, 'amount', 1))::text FROM generate_series(1, 1001) n));
SELECT create_with('not json');

-- sellers and currencies
SELECT create_with('[{"seller_id":"NOBODY","amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1},{"seller_id":"SELLER-OFF","amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1},{"seller_id":"SELLER-JPY","amount":1}]');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'eur');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'XXX');

-- the rest
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', capture_method => ''later''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', gateway => ''nowhere''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', metadata => ''[]''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', metadata => ''{"note":"4242 4242 4242 4242"}''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', metadata => ''{"card":{"CVV":"123"}}''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', metadata => ''{"n":378282246310005}''');
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', format(', metadata => jsonb_build_object(''x'', repeat(''y'', 20000))'));
SELECT create_with('[{"seller_id":"SELLER-111","amount":1}]', 'EUR', ', idempotency_key => ''''');
SELECT outcome($$SELECT payledger.create_payment_intent('', 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":1}]')$$);
SELECT outcome($$SELECT payledger.create_payment_intent(E'a\nb', 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":1}]')$$);
SELECT outcome($$SELECT payledger.create_payment_intent('O', NULL, 'EUR', '[{"seller_id":"SELLER-111","amount":1}]')$$);
SELECT outcome($$SELECT payledger.create_payment_intent('O', 'B', 'EUR', NULL)$$);
SELECT outcome($$SELECT payledger.create_payment_intent(repeat('x', 256), 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":1}]')$$);

-- numeric order ids are no cards: one in ten would pass Luhn's test alone
SELECT count(*) AS refused
  FROM generate_series(0, 999) n, LATERAL outcome(format(
	'SELECT payledger.create_payment_intent(%L, ''B'', ''EUR'', ''[{"seller_id":"SELLER-111","amount":1}]'')',
	100000000000000000 + n * 4194304::bigint)) o WHERE o <> 'done';

-- nothing of all that was left behind
SELECT count(*) FROM payledger.payment_intents WHERE order_id = 'O';
SELECT count(*) FROM payledger.outbox_events WHERE payload->'data'->>'orderId' = 'O';
