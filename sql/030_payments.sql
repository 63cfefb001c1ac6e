-- The life of payments, the gateway's part played by an operator.
\set VERBOSITY terse
CREATE FUNCTION create_intent(order_id text, capture_method text) RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_intent_id FROM payledger.create_payment_intent(create_intent.order_id, 'BUYER-1', 'EUR',
	'[{"seller_id":"SELLER-111","amount":1450},{"seller_id":"SELLER-222","amount":1450}]',
	capture_method => create_intent.capture_method) $$;
CREATE VIEW orders AS
	SELECT p.order_id, o.seller_id, o.amount, o.captured_amount, o.status, o.payment_order_id, o.payment_id
	  FROM payledger.payment_orders o JOIN payledger.payments p USING (payment_id);
CREATE FUNCTION order_of(order_id text, seller_id text) RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM orders o WHERE o.order_id = order_of.order_id AND o.seller_id = order_of.seller_id $$;

-- automatic: the worked example
SELECT create_intent('AUTO', 'automatic') AS auto \gset
SELECT payledger.request_authorization(:auto, 'pm_ok');
SELECT status FROM payledger.payment_intents WHERE payment_intent_id = :auto;
SELECT outcome(format('SELECT payledger.request_authorization(%s, ''pm_ok'')', :auto));
SELECT outcome(format('SELECT payledger.cancel_payment_intent(%s)', :auto));
SELECT answer(:auto, 'SUCCEEDED');
SELECT seller_id, amount, captured_amount, status FROM orders WHERE order_id = 'AUTO' ORDER BY 1;
SELECT answer(order_of('AUTO', 'SELLER-111'), 'SUCCEEDED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :auto;
SELECT answer(order_of('AUTO', 'SELLER-222'), 'SUCCEEDED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :auto;
SELECT entry_type, leg, account_code, debit, credit FROM payledger.journal
 WHERE payment_id = :auto ORDER BY journal_entry_id, leg;
SELECT outcome(format('SELECT payledger.void_payment(%s)', :auto));
SELECT outcome(format('SELECT payledger.capture(%s)', order_of('AUTO', 'SELLER-111')));

-- the events of its life, contiguous from 1, keyed by the payment
SELECT version, type, event_key = :'auto' AS keyed, aggregateid = :'auto' AS aggregated,
	   (payload->>'eventId') = id::text AS same_id, payload->>'version' = version::text AS same_version
  FROM payledger.outbox_events WHERE aggregatetype = 'payment' AND aggregateid = :'auto' ORDER BY version;
SELECT count(*) AS children_of_their_predecessor
  FROM payledger.outbox_events e JOIN payledger.outbox_events p
	ON p.aggregateid = e.aggregateid AND p.version = e.version - 1 AND (e.payload->>'parentEventId')::uuid = p.id
 WHERE e.aggregateid = :'auto';
SELECT machine, from_status, to_status, regexp_replace(cause, '\d{15,}', '<id>') AS cause
  FROM payledger.state_history WHERE payment_id = :auto AND machine <> 'psp_request' ORDER BY history_id;

-- manual: one order captured in part, the other cancelled
SELECT create_intent('MANUAL', 'manual') AS manual \gset
SELECT outcome(format('SELECT payledger.void_payment(%s)', :manual));
SELECT payledger.request_authorization(:manual, 'pm_ok');
SELECT answer(:manual, 'SUCCEEDED');
SELECT seller_id, status FROM orders WHERE order_id = 'MANUAL' ORDER BY 1;
SELECT outcome(format('SELECT payledger.capture(%s, 1451)', order_of('MANUAL', 'SELLER-111')));
SELECT outcome(format('SELECT payledger.capture(%s, 0)', order_of('MANUAL', 'SELLER-111')));
SELECT outcome('SELECT payledger.capture(17)');
SELECT outcome('SELECT payledger.capture(NULL)');
SELECT seller_id, amount, captured_amount, status FROM payledger.capture(order_of('MANUAL', 'SELLER-111'), 1000, 'key-1');
SELECT seller_id, amount, captured_amount, status FROM payledger.capture(order_of('MANUAL', 'SELLER-111'), 1000, 'key-1');
SELECT outcome(format('SELECT payledger.capture(%s, 1001, ''key-1'')', order_of('MANUAL', 'SELLER-111')));
SELECT outcome(format('SELECT payledger.cancel_payment_order(%s)', order_of('MANUAL', 'SELLER-111')));
SELECT outcome(format('SELECT payledger.void_payment(%s)', :manual));
SELECT payledger.cancel_payment_order(order_of('MANUAL', 'SELLER-222'));
SELECT outcome(format('SELECT payledger.capture(%s)', order_of('MANUAL', 'SELLER-222')));
SELECT answer(order_of('MANUAL', 'SELLER-111'), 'SUCCEEDED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :manual;
SELECT entry_type, account_code, debit, credit FROM payledger.journal
 WHERE payment_id = :manual ORDER BY journal_entry_id, leg;
-- nothing is left to capture, so the PSP is told to free the rest; a capture carries the payment method
SELECT operation, status, amount, payment_method FROM payledger.psp_requests
 WHERE payment_id = :manual ORDER BY psp_request_id;

-- voided before anything was captured: the PSP is told
SELECT create_intent('VOID', 'manual') AS void \gset
SELECT payledger.request_authorization(:void, 'pm_ok');
SELECT answer(:void, 'SUCCEEDED');
SELECT payledger.void_payment(:void);
SELECT status, voided_amount FROM payledger.payments WHERE payment_id = :void;
SELECT operation, status FROM payledger.psp_requests WHERE payment_id = :void ORDER BY psp_request_id;
SELECT outcome(format('SELECT payledger.void_payment(%s)', :void));

-- every capture refused: nothing held any more, the PSP is told
SELECT create_intent('FAIL', 'automatic') AS fail \gset
SELECT payledger.request_authorization(:fail, 'pm_ok');
SELECT answer(:fail, 'SUCCEEDED');
-- the first of its session: what a backend looks up once must not get between a query and its result
\c -
SELECT answer(order_of('FAIL', 'SELLER-111'), 'REFUSED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :fail;
SELECT answer(order_of('FAIL', 'SELLER-222'), 'REFUSED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :fail;
SELECT operation, status FROM payledger.psp_requests WHERE payment_id = :fail AND operation = 'CANCEL';

-- declined, cancelled
SELECT create_intent('DECLINE', 'automatic') AS decline \gset
SELECT payledger.request_authorization(:decline, 'pm_declined');
SELECT answer(:decline, 'REFUSED');
SELECT status FROM payledger.payment_intents WHERE payment_intent_id = :decline;
SELECT outcome(format('SELECT payledger.request_authorization(%s, ''pm_ok'')', :decline));
SELECT create_intent('CANCEL', 'automatic') AS cancel \gset
SELECT payledger.cancel_payment_intent(:cancel);
SELECT outcome(format('SELECT payledger.request_authorization(%s, ''pm_ok'')', :cancel));
SELECT outcome(format('SELECT payledger.cancel_payment_intent(%s)', :cancel));
SELECT outcome('SELECT payledger.request_authorization(17, ''pm_ok'')');
SELECT create_intent('PAN', 'automatic') AS pan \gset
SELECT outcome(format('SELECT payledger.request_authorization(%s, ''4242424242424242'')', :pan));
SELECT outcome(format('SELECT payledger.request_authorization(%s, NULL)', :pan));

-- waiting inside a transaction block would wait for ever
SELECT create_intent('BLOCK', 'automatic') AS block \gset
BEGIN;
CALL payledger.authorize(:block, 'pm_ok');
ROLLBACK;
SELECT status FROM payledger.payment_intents WHERE payment_intent_id = :block;

-- hand-written changes are held to the same rules
SELECT outcome(format('UPDATE payledger.payments SET status = ''NOT_CAPTURED'' WHERE payment_id = %s', :auto));
SELECT outcome(format('UPDATE payledger.payments SET status = ''VOIDED'' WHERE payment_id = %s', :manual));
SELECT outcome(format('UPDATE payledger.payment_intents SET status = ''CREATED'' WHERE payment_intent_id = %s', :auto));
SELECT outcome(format('UPDATE payledger.payments SET payment_id = 1 WHERE payment_id = %s', :auto));
-- of 2900 authorized 1000 were captured and 1900 given back: not one more
SELECT outcome(format('UPDATE payledger.payments SET voided_amount = voided_amount + 1 WHERE payment_id = %s', :manual));
SELECT outcome(format('UPDATE payledger.payments SET captured_amount = captured_amount + 1 WHERE payment_id = %s', :manual));
-- an order stays one for its amount, in its currency
SELECT outcome(format('UPDATE payledger.payment_orders SET amount = amount + 1 WHERE payment_order_id = %s', order_of('AUTO', 'SELLER-111')));
SELECT outcome(format('UPDATE payledger.payment_orders SET currency = ''JPY'' WHERE payment_order_id = %s', order_of('AUTO', 'SELLER-111')));
SELECT outcome('DELETE FROM payledger.payments');
SELECT outcome('TRUNCATE payledger.payment_orders');
SELECT outcome('DELETE FROM payledger.state_history');
SELECT outcome('UPDATE payledger.outbox_events SET type = ''x''');
SELECT outcome(format('UPDATE payledger.payment_intents SET status = ''CANCELLED'' WHERE payment_intent_id = %s', :block));
SELECT from_status, to_status, actor = current_user AS by_me, cause FROM payledger.state_history
 WHERE payment_id = :block ORDER BY history_id;

-- an application's own row lives or dies with the payment
CREATE TABLE shop_orders (order_id text PRIMARY KEY, payment_intent_id bigint);
BEGIN;
INSERT INTO shop_orders SELECT 'JOINT', create_intent('JOINT', 'automatic');
ROLLBACK;
SELECT count(*) FROM shop_orders;
SELECT count(*) FROM payledger.payment_intents WHERE order_id = 'JOINT';
BEGIN;
INSERT INTO shop_orders SELECT 'JOINT', create_intent('JOINT', 'automatic');
COMMIT;
SELECT count(*) FROM shop_orders JOIN payledger.payment_intents USING (payment_intent_id);

-- an idempotency key and its reply
SELECT payment_intent_id AS first FROM payledger.create_payment_intent('KEY', 'B', 'EUR',
	'[{"seller_id":"SELLER-111","amount":5}]', idempotency_key => 'checkout-1') \gset
SELECT payment_intent_id = :first AS same, order_id, status, total_amount, metadata
  FROM payledger.create_payment_intent('KEY', 'B', 'EUR',
	'[{"amount":5.0,"seller_id":"SELLER-111"}]', idempotency_key => 'checkout-1');
SELECT outcome($$SELECT payledger.create_payment_intent('KEY', 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":6}]', idempotency_key => 'checkout-1')$$);
SELECT outcome(format('SELECT payledger.capture(%s, NULL, ''checkout-1'')', order_of('MANUAL', 'SELLER-222')));
-- a refused command leaves its key free
SELECT outcome($$SELECT payledger.create_payment_intent('KEY2', 'B', 'EUR', '[{"seller_id":"NOBODY","amount":6}]', idempotency_key => 'checkout-2')$$);
SELECT status FROM payledger.create_payment_intent('KEY2', 'B', 'EUR', '[{"seller_id":"SELLER-111","amount":6}]', idempotency_key => 'checkout-2');

-- books
SELECT account_code, debit, credit FROM payledger.trial_balance WHERE account_code ~ 'GLOBAL|SELLER-[12]' ORDER BY 1;
SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
DROP VIEW orders CASCADE;
