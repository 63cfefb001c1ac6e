-- Captures and refunds reported failed after they succeeded, in an order that a random walk came by.
\set VERBOSITY terse
CREATE FUNCTION payment(name text, amounts bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(name, 'BUYER', 'EUR',
		(SELECT jsonb_agg(jsonb_build_object('seller_id', 'LATE-' || n, 'amount', a)) FROM unnest(amounts) WITH ORDINALITY AS u(a, n)),
		capture_method => 'manual');
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	RETURN id;
END $$;
CREATE FUNCTION po(payment bigint, n int) RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = 'LATE-' || n $$;
CREATE FUNCTION request(about bigint, operation text, amount bigint) RETURNS bigint LANGUAGE sql AS
$$ SELECT psp_request_id FROM payledger.psp_requests r WHERE r.target = about AND r.operation::text = $2 AND r.amount = $3 $$;
CREATE FUNCTION state_of(payment bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('payment %s: captured %s, refunded %s, given back %s', status, captured_amount, refunded_amount, voided_amount)
	  FROM payledger.payments WHERE payment_id = payment
	 UNION ALL
	SELECT * FROM (SELECT format('%s %s of %s: captured %s, refunded %s, given back %s, commission %s of which %s back', seller_id, status,
								 amount, captured_amount, refunded_amount, voided_amount, commission_amount, commission_refunded_amount)
					 FROM payledger.payment_orders WHERE payment_id = payment ORDER BY payment_order_id) o
	 UNION ALL
	SELECT * FROM (SELECT format('refund %s %s, commission %s', amount, status, commission_amount)
					 FROM payledger.refunds WHERE payment_id = payment ORDER BY refund_id) r $$;
CREATE FUNCTION offences() RETURNS TABLE (check_name text, detail text) LANGUAGE sql AS
$$ SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok $$;
SELECT seller_id FROM payledger.register_seller('LATE-1', 'EUR');
SELECT seller_id FROM payledger.register_seller('LATE-2', 'EUR', commission_bps => 1000);

-- refunds gave more commission back than the captures that are left took: it is taken back with the capture
SELECT payment('COMMISSION', '{160}') AS commission \gset
SELECT status FROM payledger.capture(po(:commission, 1), 60, final => false);
SELECT answer(po(:commission, 1), 'SUCCEEDED');
SELECT refund_policy FROM payledger.add_commission_rule('LATE-1', 'EUR', 10000, refund_policy => 'all');
SELECT status FROM payledger.capture(po(:commission, 1), 100);
SELECT answer(po(:commission, 1), 'SUCCEEDED');
SELECT refund_id AS refund FROM payledger.refund(po(:commission, 1), 10) \gset
SELECT answer(:refund, 'SUCCEEDED');
SELECT * FROM state_of(:commission);
SELECT status FROM payledger.resolve_request(request(po(:commission, 1), 'CAPTURE', 100), 'REVERSED', 'came back');
SELECT * FROM state_of(:commission);
-- and not once more with the refund
SELECT status FROM payledger.resolve_request(request(:refund, 'REFUND', 10), 'REVERSED', 'came back, too');
SELECT * FROM state_of(:commission);
SELECT entry_type, debit, credit FROM payledger.journal
 WHERE payment_id = :commission AND account_code = 'MERCHANT_PAYABLE.LATE-1.EUR' ORDER BY journal_entry_id;
SELECT * FROM offences();
-- of two refunds the newer one loses its share first
SELECT payment('SHARES', '{1,300}') AS shares \gset
SELECT status FROM payledger.capture(po(:shares, 2), 100, final => false);
SELECT answer(po(:shares, 2), 'SUCCEEDED');
SELECT commission_bps FROM payledger.update_seller('LATE-2', 'EUR', commission_bps => 3000);
SELECT status FROM payledger.capture(po(:shares, 2), 200);
SELECT answer(po(:shares, 2), 'SUCCEEDED');
SELECT answer((SELECT refund_id FROM payledger.refund(po(:shares, 2), 60)), 'SUCCEEDED');
SELECT answer((SELECT refund_id FROM payledger.refund(po(:shares, 2), 40)), 'SUCCEEDED');
SELECT * FROM state_of(:shares);
SELECT status FROM payledger.resolve_request(request(po(:shares, 2), 'CAPTURE', 200), 'REVERSED', 'came back');
SELECT * FROM state_of(:shares);
SELECT * FROM offences();

-- an order of which nothing captured is left is over: what was still open of it is given back, and the PSP told
SELECT payment('OPEN', '{1000}') AS open \gset
SELECT status FROM payledger.capture(po(:open, 1), 400, final => false);
SELECT answer(po(:open, 1), 'SUCCEEDED');
SELECT status FROM payledger.resolve_request(request(po(:open, 1), 'CAPTURE', 400), 'REVERSED', 'came back');
SELECT * FROM state_of(:open);
SELECT operation, status FROM payledger.psp_requests WHERE payment_id = :open ORDER BY psp_request_id;
SELECT outcome(format('SELECT payledger.capture(%s)', po(:open, 1)));
-- one of which something is left stays open
SELECT payment('LEFT', '{1000,500}') AS left \gset
SELECT status FROM payledger.capture(po(:left, 1), 400, final => false);
SELECT answer(po(:left, 1), 'SUCCEEDED');
SELECT status FROM payledger.capture(po(:left, 1), 300, final => false);
SELECT answer(po(:left, 1), 'SUCCEEDED');
SELECT status FROM payledger.resolve_request(request(po(:left, 1), 'CAPTURE', 300), 'REVERSED', 'came back');
SELECT * FROM state_of(:left);
SELECT status FROM payledger.resolve_request(request(po(:left, 1), 'CAPTURE', 400), 'REVERSED', 'came back');
SELECT * FROM state_of(:left);
-- the PSP is told once nothing else of the payment is open
SELECT operation, status FROM payledger.psp_requests WHERE payment_id = :left AND operation = 'CANCEL';
SELECT payledger.cancel_payment_order(po(:left, 2));
SELECT operation, status FROM payledger.psp_requests WHERE payment_id = :left AND operation = 'CANCEL';
SELECT * FROM offences();

-- only what succeeded comes back: one that nobody knows of is decided first
SELECT payment('EARLY', '{700}') AS early \gset
SELECT status FROM payledger.capture(po(:early, 1), 700);
UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now()
 WHERE payment_id = :early AND operation = 'CAPTURE';
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL WHERE payment_id = :early AND operation = 'CAPTURE';
SELECT outcome(format('SELECT payledger.resolve_request(%s, ''REVERSED'', ''came back'')', request(po(:early, 1), 'CAPTURE', 700)));
SELECT * FROM state_of(:early);
SELECT status FROM payledger.resolve_request(request(po(:early, 1), 'CAPTURE', 700), 'SUCCEEDED', 'it was executed');
SELECT status FROM payledger.resolve_request(request(po(:early, 1), 'CAPTURE', 700), 'REVERSED', 'came back');
SELECT * FROM state_of(:early);

-- a refund that succeeded and is refused when it is asked about: the money came back
SELECT payment('REFUSED', '{1000}') AS refused \gset
SELECT status FROM payledger.capture(po(:refused, 1), 1000);
SELECT answer(po(:refused, 1), 'SUCCEEDED');
SELECT refund_id AS refund FROM payledger.refund(po(:refused, 1), 400) \gset
SELECT answer(:refund, 'SUCCEEDED');
SELECT * FROM state_of(:refused);
INSERT INTO payledger.psp_requests (psp_request_id, payment_id, gateway, operation, target, follows, amount, currency,
									idempotency_key, status, next_attempt_at, created_at, updated_at)
	SELECT payledger.next_id(), payment_id, gateway, 'RETRIEVE', target, psp_request_id, amount, currency,
		   idempotency_key || '-question', 'READY', 'infinity', now(), now()
	  FROM payledger.psp_requests WHERE psp_request_id = request(:refund, 'REFUND', 400)
	RETURNING psp_request_id AS question \gset
UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now() WHERE psp_request_id = :question;
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL WHERE psp_request_id = :question;
SELECT status FROM payledger.resolve_request(:question, 'REFUSED', 'the bank sent it back');
SELECT * FROM state_of(:refused);
SELECT entry_type, debit, credit FROM payledger.journal
 WHERE payment_id = :refused AND account_code = 'MERCHANT_PAYABLE.LATE-1.EUR' ORDER BY journal_entry_id;
-- and one that failed is not paid by another request that succeeds: that is for a human to look at
SELECT refund_id AS refund FROM payledger.refund(po(:refused, 1), 300) \gset
SELECT answer(:refund, 'REFUSED');
INSERT INTO payledger.psp_requests (psp_request_id, payment_id, gateway, operation, target, amount, currency,
									idempotency_key, status, next_attempt_at, created_at, updated_at)
	SELECT payledger.next_id(), payment_id, gateway, operation, target, amount, currency,
		   idempotency_key || '-again', 'READY', 'infinity', now(), now()
	  FROM payledger.psp_requests WHERE psp_request_id = request(:refund, 'REFUND', 300);
SELECT outcome(format('SELECT answer(%s, ''SUCCEEDED'')', :refund));
SELECT * FROM state_of(:refused);
SELECT * FROM offences();
DROP FUNCTION payment, po, request, state_of, offences;
