-- Captures in parts, planned onto one, of a whole payment; reversals, expiry, commissions.
-- The gateway's part is played by an operator.
\set VERBOSITY terse
SELECT gateway FROM payledger.add_gateway('once', adapter => 'sandbox', options => '{"multicapture": false, "authorization_days": 3}');
SELECT gateway FROM payledger.add_gateway('frees', adapter => 'sandbox', options => '{"keeps_remainder": false}');
SELECT gateway, multicapture, keeps_remainder, authorization_days, pays_out, fee_bps FROM payledger.gateways ORDER BY gateway;
SELECT seller_id FROM payledger.register_seller('CAP-1', 'EUR', commission_bps => 1000);
SELECT seller_id FROM payledger.register_seller('CAP-2', 'EUR');
SELECT seller_id FROM payledger.register_seller('CAP-3', 'EUR');

-- an authorized intent with capture_method manual
CREATE FUNCTION authorized(order_id text, amounts bigint[], gateway text DEFAULT 'sandbox') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(order_id, 'BUYER', 'EUR',
		(SELECT jsonb_agg(jsonb_build_object('seller_id', 'CAP-' || n, 'amount', a)) FROM unnest(amounts) WITH ORDINALITY AS u(a, n)),
		capture_method => 'manual', gateway => authorized.gateway);
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	RETURN id;
END $$;
CREATE FUNCTION po(payment bigint, n int) RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = 'CAP-' || n $$;
CREATE FUNCTION state_of(payment bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT format('payment %s: captured %s, voided %s of %s', status, captured_amount, voided_amount, total_amount)
	  FROM payledger.payments WHERE payment_id = payment
	 UNION ALL
	SELECT * FROM (SELECT format('%s %s: captured %s, pending %s, voided %s of %s, commission %s', seller_id, status,
								 captured_amount, capture_pending_amount, voided_amount, amount, commission_amount)
					 FROM payledger.payment_orders WHERE payment_id = payment ORDER BY payment_order_id) o
	 UNION ALL
	SELECT * FROM (SELECT format('%s %s %s %s', operation, amount, parameters, status)
					 FROM payledger.psp_requests WHERE payment_id = payment AND operation <> 'AUTHORIZE' ORDER BY psp_request_id) r $$;

-- several captures of one order: the rest stays held until it is captured, given back or expires
SELECT authorized('PARTS', '{1000}') AS parts \gset
SELECT status, captured_amount FROM payledger.capture(po(:parts, 1), 300, final => false);
SELECT status, captured_amount FROM payledger.capture(po(:parts, 1), 200, final => false);
SELECT outcome(format('SELECT payledger.capture(%s, 501, final => false)', po(:parts, 1)));
SELECT * FROM state_of(:parts);
SELECT answer(po(:parts, 1), 'SUCCEEDED');
SELECT * FROM state_of(:parts);
SELECT status, captured_amount FROM payledger.capture(po(:parts, 1), 100);
SELECT answer(po(:parts, 1), 'SUCCEEDED');
SELECT answer(po(:parts, 1), 'REFUSED');
SELECT * FROM state_of(:parts);
SELECT outcome(format('SELECT payledger.capture(%s, 1)', po(:parts, 1)));
SELECT outcome(format('SELECT payledger.cancel_payment_order(%s)', po(:parts, 1)));

-- a part is captured, the rest cancelled: the PSP is told
SELECT authorized('REST', '{1000}') AS rest \gset
SELECT status FROM payledger.capture(po(:rest, 1), 400, final => false);
SELECT answer(po(:rest, 1), 'SUCCEEDED');
SELECT payledger.cancel_payment_order(po(:rest, 1));
SELECT * FROM state_of(:rest);

-- where the PSP frees the rest by itself it is not told
SELECT authorized('FREES', '{1000,500}', 'frees') AS frees \gset
SELECT status FROM payledger.capture(po(:frees, 1), 400);
SELECT answer(po(:frees, 1), 'SUCCEEDED');
SELECT payledger.cancel_payment_order(po(:frees, 2));
SELECT * FROM state_of(:frees);

-- a gateway that captures once: planned until no order is open
SELECT authorized('ONCE', '{1000,500,200}', 'once') AS once \gset
SELECT status FROM payledger.capture(po(:once, 1), 400);
SELECT outcome(format('SELECT payledger.capture(%s, 100)', po(:once, 1)));
SELECT outcome(format('SELECT payledger.capture(%s, 100, final => false)', po(:once, 2)));
SELECT payledger.cancel_payment_order(po(:once, 3));
SELECT outcome(format('SELECT payledger.void_payment(%s)', :once));
SELECT * FROM state_of(:once);
SELECT count(*) FROM payledger.verify() WHERE NOT ok;
SELECT status FROM payledger.capture(po(:once, 2));
SELECT * FROM state_of(:once);
SELECT answer(:once, 'SUCCEEDED');
SELECT * FROM state_of(:once);
SELECT entry_type, account_code, debit, credit FROM payledger.journal
 WHERE payment_id = :once AND entry_type = 'CAPTURE' ORDER BY journal_entry_id, leg;

-- the last open order is cancelled: what is planned goes out
SELECT authorized('ONCE-2', '{1000,500}', 'once') AS once2 \gset
SELECT status FROM payledger.capture(po(:once2, 1), 400);
SELECT payledger.cancel_payment_order(po(:once2, 2));
SELECT answer(:once2, 'REFUSED');
SELECT * FROM state_of(:once2);

-- a whole payment, shared out by largest remainder: 100 of 333, 333 and 334
SELECT authorized('WHOLE', '{333,333,334}') AS whole \gset
SELECT outcome(format('SELECT payledger.capture_payment(%s, 1001)', :whole));
SELECT outcome(format('SELECT payledger.capture_payment(%s, 0)', :whole));
SELECT outcome('SELECT payledger.capture_payment(17)');
SELECT currency, requested_amount, captured_amount, voided_amount, status FROM payledger.capture_payment(:whole, 100, 'whole-1');
SELECT currency, requested_amount, captured_amount, voided_amount, status FROM payledger.capture_payment(:whole, 100, 'whole-1');
SELECT outcome(format('SELECT payledger.capture_payment(%s, 99, ''whole-1'')', :whole));
SELECT outcome(format('SELECT payledger.capture_payment(%s)', :whole));
SELECT * FROM state_of(:whole);

-- less than there are orders: those without a share are cancelled
SELECT authorized('LESS', '{1000,10,10}', 'once') AS less \gset
SELECT requested_amount, status FROM payledger.capture_payment(:less, 1);
SELECT * FROM state_of(:less);
SELECT answer(:less, 'SUCCEEDED');
SELECT status, captured_amount, voided_amount FROM payledger.payments WHERE payment_id = :less;

-- a capture that is reported failed later, one of two
SELECT authorized('LATE', '{1000}') AS late \gset
SELECT status FROM payledger.capture(po(:late, 1), 400, final => false);
SELECT answer(po(:late, 1), 'SUCCEEDED');
SELECT status FROM payledger.capture(po(:late, 1), 300, final => false);
SELECT answer(po(:late, 1), 'SUCCEEDED');
SELECT psp_request_id AS first FROM payledger.psp_requests WHERE payment_id = :late AND operation = 'CAPTURE' AND amount = 400 \gset
SELECT outcome(format('SELECT payledger.resolve_request(%s, ''REFUSED'', ''no'')', :first));
SELECT status FROM payledger.resolve_request(:first, 'REVERSED', 'the bank took it back');
SELECT * FROM state_of(:late);
-- said twice it changes nothing
SELECT status FROM payledger.resolve_request(:first, 'REVERSED', 'the bank took it back');
SELECT * FROM state_of(:late);
SELECT kind, amount FROM payledger.settlement_items WHERE payment_id = :late ORDER BY settlement_item_id;
-- the other one is refunded: the reversal contradicts the refund
SELECT amount, status FROM payledger.refund(po(:late, 1));
SELECT psp_request_id AS second FROM payledger.psp_requests WHERE payment_id = :late AND operation = 'CAPTURE' AND amount = 300 \gset
SELECT outcome(format('SELECT payledger.resolve_request(%s, ''REVERSED'', ''the bank took it back'')', :second));
SELECT answer((SELECT refund_id FROM payledger.refunds WHERE payment_id = :late), 'SUCCEEDED');
SELECT outcome(format('SELECT payledger.resolve_request(%s, ''REVERSED'', ''the bank took it back'')', :second));

-- an authorization that expires: what nobody captured is given back, what is planned goes out
SELECT authorized('EXPIRE', '{1000,500}', 'once') AS expire \gset
SELECT authorization_expires_at - created_at AS lifetime FROM payledger.payments WHERE payment_id = :expire;
SELECT status FROM payledger.capture(po(:expire, 1), 400);
SELECT payledger.expire_authorizations();
UPDATE payledger.payments SET authorization_expires_at = now() + interval '59 minutes' WHERE payment_id = :expire;
SELECT payledger.expire_authorizations();
SELECT payledger.expire_authorizations();
SELECT * FROM state_of(:expire);
SELECT authorized('EXPIRE-2', '{1000}') AS expire2 \gset
UPDATE payledger.payments SET authorization_expires_at = now() WHERE payment_id = :expire2;
SELECT payledger.expire_authorizations();
SELECT * FROM state_of(:expire2);
SELECT DISTINCT cause FROM payledger.state_history WHERE payment_id = :expire2 AND to_status IN ('CANCELLED', 'VOIDED');

SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
DROP FUNCTION authorized, po, state_of;
