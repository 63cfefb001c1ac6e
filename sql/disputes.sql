-- Chargebacks: opened, answered, decided, overturned; with refunds, closed
-- accounts, and what went wrong elsewhere.  outcome() and answer() come from
-- 010_setup; what is due is far in the future or the past.
\set VERBOSITY terse
\pset null '-'
SET timezone = 'UTC';
SELECT r.* FROM generate_series(1, 3) AS n, payledger.register_seller('DISPUTE-' || n, 'EUR') r;

-- a payment of that order, captured for each of the sellers
CREATE FUNCTION captured(order_id text, VARIADIC amounts bigint[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	payment_order bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(captured.order_id, 'BUYER-D', 'EUR',
		(SELECT jsonb_agg(jsonb_build_object('seller_id', 'DISPUTE-' || n, 'amount', a) ORDER BY n)
		   FROM unnest(amounts) WITH ORDINALITY AS u(a, n)));
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED');
	FOR payment_order IN SELECT o.payment_order_id FROM payledger.payment_orders o WHERE o.payment_id = id ORDER BY 1 LOOP
		PERFORM answer(payment_order, 'SUCCEEDED');
	END LOOP;
	RETURN id;
END
$$;
CREATE FUNCTION sold_in(payment bigint, seller text DEFAULT 'DISPUTE-1') RETURNS bigint LANGUAGE sql AS
$$ SELECT payment_order_id FROM payledger.payment_orders WHERE payment_id = payment AND seller_id = seller $$;
CREATE FUNCTION dispute_of(payment bigint, seller text DEFAULT 'DISPUTE-1') RETURNS bigint LANGUAGE sql AS
$$ SELECT max(dispute_id) FROM payledger.disputes WHERE payment_id = payment AND seller_id = seller $$;
CREATE FUNCTION refund_of(payment bigint) RETURNS bigint LANGUAGE sql AS
$$ SELECT max(refund_id) FROM payledger.refunds WHERE payment_id = payment $$;
-- the request for a target is sent and its answer lost; the answer is found
CREATE FUNCTION lost(target bigint) RETURNS void LANGUAGE sql AS $$
	UPDATE payledger.psp_requests r SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now()
	 WHERE r.target = lost.target AND r.status = 'READY';
	UPDATE payledger.psp_requests r SET status = 'UNKNOWN', lease_token = NULL
	 WHERE r.target = lost.target AND r.status = 'IN_FLIGHT' $$;
CREATE FUNCTION found(target bigint, outcome text) RETURNS text LANGUAGE sql AS $$
	SELECT f.status FROM payledger.psp_requests r, payledger.resolve_request(r.psp_request_id, found.outcome, 'test') f
	 WHERE r.target = found.target AND r.status = 'UNKNOWN' $$;
CREATE VIEW orders AS
	SELECT payment_id, seller_id, captured_amount AS captured, refunded_amount AS refunded,
		   refund_pending_amount AS pending, disputed_amount AS disputed, status FROM payledger.payment_orders;
-- what was posted since the captures, with what it takes back
CREATE VIEW books AS
	SELECT j.payment_id, j.journal_entry_id, j.leg, j.entry_type, j.account_code, j.debit, j.credit,
		   (SELECT e.entry_type FROM payledger.journal_entries e WHERE e.journal_entry_id = j.reverses) AS takes_back,
		   regexp_replace(j.reference, '\d{15,}', '<id>') AS reference
	  FROM payledger.journal j WHERE j.entry_type !~ '^(AUTH|CAPTURE|COMMISSION)';

---- opened, answered, won ----

SELECT captured('D-WON', 10000, 5000) AS won \gset
SELECT seller_id, amount, currency, fee, status, round, borne_by_seller, reason, gateway, psp_reference, evidence_due_at
  FROM payledger.open_dispute(sold_in(:won), 10000, 'du_won', 'fraudulent', 1500, '2099-01-01 12:00+00');
SELECT seller_id, captured, refunded, pending, disputed, status FROM orders WHERE payment_id = :won ORDER BY 1;
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books WHERE payment_id = :won ORDER BY journal_entry_id, leg;
SELECT kind, amount, object_id = dispute_of(:won) AS is_of_dispute, settlement_report_id IS NULL AS is_open
  FROM payledger.settlement_items WHERE payment_id = :won AND kind::text LIKE 'CHARGEBACK%' ORDER BY settlement_item_id;
SELECT status, is_overdue, amount, fee, captured, refunded_before, paid_back_twice, borne_by
  FROM payledger.dispute_overview WHERE payment_id = :won;
-- the payment itself is what it was: captured
SELECT status, captured_amount, refunded_amount FROM payledger.payments WHERE payment_id = :won;
SELECT status FROM payledger.submit_evidence(dispute_of(:won), '{"tracking_number": "JJD0099", "signed_by": "the buyer"}');
SELECT evidence FROM payledger.disputes WHERE dispute_id = dispute_of(:won);
SELECT status, round FROM payledger.close_dispute(dispute_of(:won), 'WON', fee_returned => true);
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books WHERE payment_id = :won ORDER BY journal_entry_id, leg;
SELECT kind, amount FROM payledger.settlement_items WHERE payment_id = :won AND kind::text LIKE 'CHARGEBACK%' ORDER BY settlement_item_id;
SELECT seller_id, captured, refunded, pending, disputed, status FROM orders WHERE payment_id = :won ORDER BY 1;
-- refundable again
SELECT amount, status FROM payledger.refund(sold_in(:won), 10000);
SELECT answer(refund_of(:won), 'SUCCEEDED');
-- its events, contiguous with the others of the payment, and its history
SELECT e.version - first.version AS step, e.type, (e.payload::jsonb -> 'data') - '{disputeId, paymentOrderId, refundId}'::text[] AS data
  FROM payledger.outbox_events e, (SELECT min(version) AS version FROM payledger.outbox_events
									WHERE aggregateid = :'won' AND type = 'dispute_opened') first
 WHERE e.aggregateid = :'won' AND e.version >= first.version ORDER BY e.version;
SELECT from_status, to_status, cause FROM payledger.state_history WHERE payment_id = :won AND machine = 'dispute' ORDER BY history_id;

---- lost, and both overturned: second and later rounds ----

SELECT captured('D-LOST', 8000) AS lost \gset
SELECT FROM payledger.open_dispute(sold_in(:lost), 8000, 'du_lost');
SELECT status, round FROM payledger.close_dispute(dispute_of(:lost), 'LOST');
SELECT entry_type, reference FROM books WHERE payment_id = :lost AND leg = 1 ORDER BY journal_entry_id;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:lost)));
SELECT status, round FROM payledger.close_dispute(dispute_of(:lost), 'WON');
SELECT captured, disputed FROM orders WHERE payment_id = :lost;
SELECT status, round FROM payledger.close_dispute(dispute_of(:lost), 'LOST');
SELECT captured, disputed FROM orders WHERE payment_id = :lost;
SELECT status, round FROM payledger.close_dispute(dispute_of(:lost), 'WON');
SELECT status, round FROM payledger.close_dispute(dispute_of(:lost), 'LOST');
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books WHERE payment_id = :lost ORDER BY journal_entry_id, leg;
SELECT kind, amount FROM payledger.settlement_items WHERE payment_id = :lost AND kind::text LIKE 'CHARGEBACK%' ORDER BY settlement_item_id;
SELECT balance FROM payledger.seller_balances WHERE seller_id = 'DISPUTE-1';

---- borne by the platform ----

SELECT captured('D-BORNE', 700) AS borne \gset
SELECT borne_by_seller FROM payledger.open_dispute(sold_in(:borne), 700, 'du_borne', borne_by_seller => false);
SELECT status FROM payledger.close_dispute(dispute_of(:borne), 'WON');
SELECT status, borne_by_seller FROM payledger.close_dispute(dispute_of(:borne), 'LOST');
SELECT entry_type, account_code, debit, credit, takes_back FROM books WHERE payment_id = :borne ORDER BY journal_entry_id, leg;

---- a whole payment: shared out to the cent ----

SELECT captured('D-SHARES', 1000, 1000, 1000) AS shares \gset
SELECT FROM payledger.refund(sold_in(:shares, 'DISPUTE-3'), 400);
SELECT answer(refund_of(:shares), 'SUCCEEDED');
-- 1000, 1000 and 600 are with the platform still
SELECT seller_id, amount, fee FROM payledger.open_payment_dispute(:shares, 2599, 'du_shares', 'not as described', 1500);
SELECT seller_id, amount, fee FROM payledger.open_payment_dispute(:shares, 2599, 'du_shares', fee => 1500);
SELECT count(*), sum(amount) FROM payledger.disputes WHERE payment_id = :shares;
SELECT outcome(format('SELECT payledger.open_payment_dispute(%s, 2600, ''du_shares'', fee => 1500)', :shares));
SELECT outcome(format('SELECT payledger.open_payment_dispute(%s, 2599, ''du_shares'')', :shares));
SELECT outcome(format('SELECT payledger.open_dispute(%s, 1000, ''du_shares'', fee => 1499)', sold_in(:shares)));
-- nobody answers for a cent that cannot be split; all refunded: by what was captured
SELECT captured('D-CENT', 300, 300) AS cent \gset
SELECT FROM payledger.refund_payment(:cent);
SELECT answer(refund_id, 'SUCCEEDED') FROM payledger.refunds WHERE payment_id = :cent ORDER BY refund_id;
SELECT seller_id, amount FROM payledger.open_payment_dispute(:cent, 1, 'du_cent');
SELECT seller_id, amount FROM payledger.open_payment_dispute(:cent, 599, 'du_rest');
-- the whole decision in one statement
SELECT c.seller_id, c.status FROM payledger.disputes d, payledger.close_dispute(d.dispute_id, 'WON', d.fee > 0) c
 WHERE d.psp_reference = 'du_shares' ORDER BY d.dispute_id;
SELECT seller_id, disputed FROM orders WHERE payment_id = :shares ORDER BY 1;

---- polar #8344: the issuer's rate makes the dispute larger than the payment ----

-- what an operator states is believed, however much it is
SELECT captured('D-HUGE', 1500) AS huge \gset
SELECT amount, status FROM payledger.open_dispute(sold_in(:huge), 150000, 'du_huge');
SELECT status FROM payledger.close_dispute(dispute_of(:huge), 'WON');
SELECT captured('D-FX', 5000) AS fx \gset
SELECT amount, status FROM payledger.open_dispute(sold_in(:fx), 5123, 'du_fx', 'fx');
SELECT captured, disputed, status FROM orders WHERE payment_id = :fx;
SELECT entry_type, account_code, debit, credit FROM books WHERE payment_id = :fx ORDER BY journal_entry_id, leg;
SELECT captured, disputed FROM payledger.payment_overview WHERE payment_id = :fx;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:fx)));
SELECT outcome(format('SELECT payledger.refund(%s)', sold_in(:fx)));
SELECT status FROM payledger.close_dispute(dispute_of(:fx), 'WON');
SELECT captured, disputed FROM orders WHERE payment_id = :fx;
-- several disputes of one order add up
SELECT FROM payledger.open_dispute(sold_in(:fx), 3000, 'du_fx2');
SELECT FROM payledger.open_dispute(sold_in(:fx), 1500, 'du_fx3');
SELECT captured, disputed FROM orders WHERE payment_id = :fx;
SELECT outcome(format('SELECT payledger.refund(%s, 501)', sold_in(:fx)));
SELECT amount, status FROM payledger.refund(sold_in(:fx), 500);

---- polar #8329: the webhook comes twice, or three times after the decision ----

SELECT captured('D-TWICE', 2000) AS twice \gset
SELECT dispute_id AS first FROM payledger.open_dispute(sold_in(:twice), 2000, 'du_twice', fee => 100) \gset
SELECT dispute_id = :first AS same, status FROM payledger.open_dispute(sold_in(:twice), 2000, 'du_twice', fee => 100);
SELECT status FROM payledger.close_dispute(:first, 'LOST');
SELECT dispute_id = :first AS same, status FROM payledger.open_dispute(sold_in(:twice), 2000, 'du_twice', 'other words', 100);
SELECT entry_type, count(*) FROM books WHERE payment_id = :twice AND leg = 1 GROUP BY 1 ORDER BY 1;
SELECT count(*) FROM payledger.outbox_events WHERE aggregateid = :'twice' AND type = 'dispute_opened';
SELECT disputed FROM orders WHERE payment_id = :twice;

---- hyperswitch-control-center #4109: chargeback and refund must not both pay ----

-- the chargeback comes first: there is nothing left to refund
SELECT captured('D-FIRST', 6000) AS first \gset
SELECT FROM payledger.open_dispute(sold_in(:first), 4000, 'du_first');
SELECT outcome(format('SELECT payledger.refund(%s, 2001)', sold_in(:first)));
SELECT outcome(format('SELECT payledger.refund_payment(%s, 2001)', :first));
SELECT amount, status FROM payledger.refund(sold_in(:first), 2000);
-- a refund was asked for and not sent yet: it is withdrawn
SELECT captured('D-WAITS', 6000) AS waits \gset
SELECT amount, status FROM payledger.refund(sold_in(:waits), 6000);
SELECT FROM payledger.open_dispute(sold_in(:waits), 6000, 'du_waits');
SELECT amount, status, failure_code FROM payledger.refunds WHERE payment_id = :waits;
SELECT operation, status, reply_code FROM payledger.psp_requests WHERE payment_id = :waits AND operation = 'REFUND';
SELECT captured, refunded, pending, disputed FROM orders WHERE payment_id = :waits;
SELECT entry_type, account_code, debit, credit, takes_back FROM books WHERE payment_id = :waits ORDER BY journal_entry_id, leg;
-- won, refunded, and lost after all before the refund was sent: withdrawn as well
SELECT captured('D-AGAIN', 900) AS again \gset
SELECT FROM payledger.open_dispute(sold_in(:again), 900, 'du_again');
SELECT status FROM payledger.close_dispute(dispute_of(:again), 'WON');
SELECT amount, status FROM payledger.refund(sold_in(:again), 900);
SELECT status FROM payledger.close_dispute(dispute_of(:again), 'LOST');
SELECT status, failure_code FROM payledger.refunds WHERE payment_id = :again;
SELECT captured, refunded, pending, disputed FROM orders WHERE payment_id = :again;
-- a refund of the other seller's order goes on
SELECT captured('D-OTHER', 1000, 1000) AS other \gset
SELECT amount, status FROM payledger.refund(sold_in(:other, 'DISPUTE-2'), 1000);
SELECT FROM payledger.open_dispute(sold_in(:other), 1000, 'du_other');
SELECT seller_id, status FROM payledger.refunds WHERE payment_id = :other;
SELECT answer(refund_of(:other), 'SUCCEEDED');
-- a refund is under way and nobody can stop it; the PSP refuses it, and that frees nothing for another one
SELECT captured('D-FLIGHT', 6000) AS flight \gset
SELECT FROM payledger.refund(sold_in(:flight), 5000);
SELECT lost(refund_of(:flight));
SELECT FROM payledger.open_dispute(sold_in(:flight), 6000, 'du_flight');
SELECT status, failure_code FROM payledger.refunds WHERE payment_id = :flight;
SELECT captured, refunded, pending, disputed FROM orders WHERE payment_id = :flight;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:flight)));
SELECT found(refund_of(:flight), 'REFUSED');
SELECT captured, refunded, pending, disputed FROM orders WHERE payment_id = :flight;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:flight)));
-- it succeeds: both paid, as the PSP says, which the defence shows and the books keep
SELECT captured('D-BOTH', 6000) AS both \gset
SELECT FROM payledger.refund(sold_in(:both), 5000);
SELECT lost(refund_of(:both));
SELECT FROM payledger.open_dispute(sold_in(:both), 6000, 'du_both');
SELECT refunded_before, paid_back_twice FROM payledger.dispute_overview WHERE payment_id = :both;
SELECT found(refund_of(:both), 'SUCCEEDED');
SELECT captured, refunded, pending, disputed FROM orders WHERE payment_id = :both;
SELECT refunded_before, paid_back_twice, regexp_replace(refunds, '\d{15,}', '<id>') AS refunds
  FROM payledger.dispute_overview WHERE payment_id = :both;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:both)));
SELECT status FROM payledger.close_dispute(dispute_of(:both), 'WON');
SELECT outcome(format('SELECT payledger.refund(%s, 1001)', sold_in(:both)));
SELECT amount, status FROM payledger.refund(sold_in(:both), 1000);
-- refunded long ago, then charged back: the issuer does not know, the evidence does
SELECT captured('D-REFUNDED', 6000) AS refunded \gset
SELECT FROM payledger.refund(sold_in(:refunded), 6000);
SELECT answer(refund_of(:refunded), 'SUCCEEDED');
SELECT FROM payledger.open_dispute(sold_in(:refunded), 6100, 'du_refunded', 'credit not processed');
SELECT amount, captured, refunded_before, paid_back_twice, regexp_replace(refunds, '\d{15,}', '<id>') AS refunds
  FROM payledger.dispute_overview WHERE payment_id = :refunded;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:refunded)));
SELECT status FROM payledger.close_dispute(dispute_of(:refunded), 'WON');
SELECT captured, refunded, disputed, status FROM orders WHERE payment_id = :refunded;
SELECT outcome(format('SELECT payledger.refund(%s, 1)', sold_in(:refunded)));

-- the capture itself is reported failed later: the dispute is decided all the same, and none is opened any more
SELECT captured('D-REVERSED', 800) AS reversed \gset
SELECT FROM payledger.open_dispute(sold_in(:reversed), 800, 'du_reversed');
SELECT r.status FROM payledger.psp_requests q, payledger.resolve_request(q.psp_request_id, 'REVERSED', 'test') r
 WHERE q.payment_id = :reversed AND q.operation = 'CAPTURE';
SELECT captured, disputed, status FROM orders WHERE payment_id = :reversed;
SELECT outcome(format('SELECT payledger.open_dispute(%s, 1, ''du_x'')', sold_in(:reversed)));
SELECT status FROM payledger.close_dispute(dispute_of(:reversed), 'WON');
SELECT captured, disputed, status FROM orders WHERE payment_id = :reversed;

---- gumroad #650: the seller's account is gone when the PSP decides ----

SELECT FROM payledger.register_seller('DISPUTE-GONE', 'EUR');
CREATE FUNCTION sold_by_gone(order_id text, amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE id bigint;
BEGIN
	SELECT payment_intent_id INTO id FROM payledger.create_payment_intent(sold_by_gone.order_id, 'BUYER-D', 'EUR',
		jsonb_build_array(jsonb_build_object('seller_id', 'DISPUTE-GONE', 'amount', amount)));
	PERFORM payledger.request_authorization(id, 'pm_ok');
	PERFORM answer(id, 'SUCCEEDED'), answer(sold_in(id, 'DISPUTE-GONE'), 'SUCCEEDED');
	RETURN id;
END
$$;
CREATE FUNCTION close_account() RETURNS text LANGUAGE plpgsql AS $$
DECLARE rest bigint := payledger.balance('MERCHANT_PAYABLE.DISPUTE-GONE.EUR');
BEGIN
	PERFORM payledger.open_account('PLATFORM_CASH', 'GLOBAL', 'EUR');
	IF rest <> 0 THEN
		PERFORM payledger.post_entry('ADJUSTMENT', jsonb_build_array(
			jsonb_build_object('account', 'MERCHANT_PAYABLE.DISPUTE-GONE.EUR', 'amount', rest),
			jsonb_build_object('account', 'PLATFORM_CASH.GLOBAL.EUR', 'amount', -rest)));
	END IF;
	RETURN (SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.DISPUTE-GONE.EUR', 'CLOSED'));
END
$$;
CREATE VIEW gone AS
	SELECT account_type, balance FROM payledger.account_balances
	 WHERE currency = 'EUR' AND (entity_id = 'DISPUTE-GONE' OR account_type = 'CHARGEBACK_EXPENSE');
SELECT sold_by_gone('G-1', 3000) AS gone1, sold_by_gone('G-2', 2000) AS gone2, sold_by_gone('G-3', 1000) AS gone3 \gset
SELECT balance AS expense FROM gone WHERE account_type = 'CHARGEBACK_EXPENSE' \gset
SELECT FROM payledger.open_dispute(sold_in(:gone1, 'DISPUTE-GONE'), 3000, 'du_gone1');
SELECT FROM payledger.open_dispute(sold_in(:gone2, 'DISPUTE-GONE'), 2000, 'du_gone2');
SELECT status FROM payledger.close_dispute(dispute_of(:gone2, 'DISPUTE-GONE'), 'WON');
SELECT close_account();
-- won for a seller whose account is closed: kept for it, not lost and not refused
SELECT status, borne_by_seller FROM payledger.close_dispute(dispute_of(:gone1, 'DISPUTE-GONE'), 'WON');
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books
 WHERE payment_id = :gone1 ORDER BY journal_entry_id, leg;
SELECT account_type, balance FROM gone WHERE account_type <> 'CHARGEBACK_EXPENSE' ORDER BY 1;
-- overturned, twice
SELECT status, round FROM payledger.close_dispute(dispute_of(:gone1, 'DISPUTE-GONE'), 'LOST');
SELECT account_type, balance FROM gone WHERE account_type <> 'CHARGEBACK_EXPENSE' ORDER BY 1;
SELECT status, round FROM payledger.close_dispute(dispute_of(:gone1, 'DISPUTE-GONE'), 'WON');
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books
 WHERE payment_id = :gone1 ORDER BY journal_entry_id, leg;
-- won before the closing and lost after it, or opened after it: the platform's loss
SELECT status, borne_by_seller FROM payledger.close_dispute(dispute_of(:gone2, 'DISPUTE-GONE'), 'LOST');
SELECT status, borne_by_seller FROM payledger.open_dispute(sold_in(:gone3, 'DISPUTE-GONE'), 1000, 'du_gone3');
SELECT status, borne_by_seller FROM payledger.open_dispute(sold_in(:gone3, 'DISPUTE-GONE'), 1000, 'du_gone3');
SELECT entry_type, account_code, debit, credit, takes_back, reference FROM books
 WHERE payment_id IN (:gone2, :gone3) ORDER BY journal_entry_id, leg;
SELECT account_type, balance - CASE account_type WHEN 'CHARGEBACK_EXPENSE' THEN :expense ELSE 0 END AS balance FROM gone ORDER BY 1;
-- the platform's loss is the platform's win, and the account may be open again by then
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.DISPUTE-GONE.EUR', 'ACTIVE');
SELECT status FROM payledger.close_dispute(dispute_of(:gone3, 'DISPUTE-GONE'), 'WON');
SELECT entry_type, account_code, takes_back FROM books WHERE payment_id = :gone3 ORDER BY journal_entry_id, leg;
-- finance gives the seller what was kept for it
SELECT FROM payledger.post_entry('ADJUSTMENT',
	'[{"account":"SETTLEMENT_SUSPENSE.DISPUTE-GONE.EUR","amount":3000},{"account":"MERCHANT_PAYABLE.DISPUTE-GONE.EUR","amount":-3000}]');
SELECT account_type, balance FROM gone WHERE account_type <> 'CHARGEBACK_EXPENSE' ORDER BY 1;
-- a suspended account takes facts
SELECT status FROM payledger.set_account_status('MERCHANT_PAYABLE.DISPUTE-GONE.EUR', 'SUSPENDED');
SELECT status, borne_by_seller FROM payledger.open_dispute(sold_in(:gone3, 'DISPUTE-GONE'), 900, 'du_gone4');
SELECT account_type, balance FROM gone WHERE account_type <> 'CHARGEBACK_EXPENSE' ORDER BY 1;

---- late evidence ----

SELECT captured('D-LATE', 100) AS late \gset
SELECT FROM payledger.open_dispute(sold_in(:late), 100, 'du_late', evidence_due_at => '2026-01-01 00:00+00');
SELECT is_overdue, evidence_due_at FROM payledger.dispute_overview WHERE payment_id = :late;
SET client_min_messages = warning;	-- the notice names the id
SELECT status FROM payledger.submit_evidence(dispute_of(:late), '{"note": "we were on holiday"}');
RESET client_min_messages;
SELECT is_overdue, status FROM payledger.dispute_overview WHERE payment_id = :late;

---- refused ----

SELECT captured('D-BAD', 1000) AS bad \gset
SELECT payment_intent_id AS uncaptured FROM payledger.create_payment_intent('D-UNCAPTURED', 'BUYER-D', 'EUR',
	'[{"seller_id":"DISPUTE-1","amount":1000}]', capture_method => 'manual') \gset
SELECT outcome(format('SELECT payledger.open_payment_dispute(%s, 1, ''du_x'')', :uncaptured));
SELECT payledger.request_authorization(:uncaptured, 'pm_ok');
SELECT answer(:uncaptured, 'SUCCEEDED');
SELECT outcome(format('SELECT payledger.open_payment_dispute(%s, 1, ''du_x'')', :uncaptured));
SELECT outcome(format('SELECT payledger.open_dispute(%s, 1, ''du_x'')', sold_in(:uncaptured)));
SELECT outcome('SELECT payledger.open_dispute(17, 1, ''du_x'')');
SELECT outcome('SELECT payledger.open_payment_dispute(17, 1, ''du_x'')');
SELECT a.call, o.line FROM (VALUES
	(1, 'open_dispute(NULL, 1, ''du_x'')'), (2, 'open_payment_dispute(NULL, 1, ''du_x'')'),
	(3, 'open_dispute(%1$s, NULL, ''du_x'')'), (4, 'open_dispute(%1$s, 1, NULL)'),
	(5, 'open_dispute(%1$s, 1, ''du_x'', fee => NULL)'), (6, 'open_dispute(%1$s, 1, ''du_x'', borne_by_seller => NULL)'),
	(7, 'open_dispute(%1$s, 0, ''du_x'')'), (8, 'open_dispute(%1$s, -1, ''du_x'')'),
	(9, 'open_payment_dispute(%2$s, 0, ''du_x'')'), (10, 'open_dispute(%1$s, 1, ''du_x'', fee => -1)'),
	(11, 'open_dispute(%1$s, 1, '''')'), (12, 'open_dispute(%1$s, 1, repeat(''x'', 256))'),
	(13, 'open_dispute(%1$s, 1, ''4242 4242 4242 4242'')'), (14, 'open_dispute(%1$s, 1, ''du_x'', ''card 4242424242424242'')'),
	(15, 'open_dispute(%1$s, 1, ''du_x'', '''')'),
	(16, 'open_dispute(%1$s, 1001, ''du_bad'')'), (17, 'open_dispute(%1$s, 1000, ''du_bad'', fee => 1)'),
	(18, 'open_dispute(%1$s, 1000, ''du_won'')'), (19, 'open_payment_dispute(%2$s, 1000, ''du_won'')'),
	(20, 'open_dispute(%1$s, 9223372036854775807, ''du_x'')'),
	(21, 'submit_evidence(17, ''{"a": "b"}'')'), (22, 'submit_evidence(NULL, ''{"a": "b"}'')'),
	(23, 'submit_evidence(%3$s, NULL)'), (24, 'submit_evidence(%3$s, ''[]'')'), (25, 'submit_evidence(%3$s, ''{}'')'),
	(26, 'submit_evidence(%3$s, ''{"pan": "x"}'')'), (27, 'submit_evidence(%3$s, ''{"note": "4242424242424242"}'')'),
	(28, 'close_dispute(17, ''WON'')'), (29, 'close_dispute(NULL, ''WON'')'), (30, 'close_dispute(%3$s, NULL)'),
	(31, 'close_dispute(%3$s, ''DRAWN'')'), (32, 'close_dispute(%3$s, ''WON'', true)'), (33, 'close_dispute(%3$s, ''LOST'', true)')
  ) AS a(n, call)
 CROSS JOIN LATERAL (SELECT FROM payledger.open_dispute(sold_in(:bad), 1000, 'du_bad') OFFSET 0) AS open
 CROSS JOIN LATERAL outcome(format('SELECT payledger.' || a.call, sold_in(:bad), :bad, dispute_of(:bad))) WITH ORDINALITY AS o(line, i)
 ORDER BY a.n, o.i;
-- closed twice, answered twice, answered after the decision
SELECT status FROM payledger.submit_evidence(dispute_of(:bad), '{"a": "b"}');
SELECT outcome(format('SELECT payledger.submit_evidence(%s, ''{"a": "b"}'')', dispute_of(:bad)));
SELECT status FROM payledger.close_dispute(dispute_of(:bad), 'LOST');
SELECT outcome(format('SELECT payledger.close_dispute(%s, ''LOST'')', dispute_of(:bad)));
SELECT outcome(format('SELECT payledger.submit_evidence(%s, ''{"a": "b"}'')', dispute_of(:bad)));
SELECT status FROM payledger.close_dispute(dispute_of(:bad), 'WON');
SELECT outcome(format('SELECT payledger.close_dispute(%s, ''WON'')', dispute_of(:bad)));
-- a fee is returned once
SELECT FROM payledger.open_dispute(sold_in(:bad), 1, 'du_fee', fee => 15);
SELECT status FROM payledger.close_dispute(dispute_of(:bad), 'WON', true);
SELECT status FROM payledger.close_dispute(dispute_of(:bad), 'LOST');
SELECT outcome(format('SELECT payledger.close_dispute(%s, ''WON'', true)', dispute_of(:bad)));
SELECT status FROM payledger.close_dispute(dispute_of(:bad), 'WON');
-- written by hand
SELECT outcome(format('UPDATE payledger.disputes SET status = ''NEEDS_RESPONSE'' WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome(format('UPDATE payledger.disputes SET amount = amount + 1 WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome(format('UPDATE payledger.disputes SET seller_id = ''DISPUTE-2'' WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome(format('UPDATE payledger.disputes SET payment_id = 1 WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome(format('UPDATE payledger.disputes SET fee_returned = false WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome(format('UPDATE payledger.disputes SET round = round - 1 WHERE dispute_id = %s', dispute_of(:bad)));
SELECT outcome('DELETE FROM payledger.disputes');
SELECT outcome('TRUNCATE payledger.disputes');
-- a reference that disputes give their entries is nobody else's
SELECT outcome(format($$SELECT payledger.post_entry('CHARGEBACK', '[{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":1},{"account":"PSP_RECEIVABLES.GLOBAL.EUR","amount":-1}]', 'CHARGEBACK:%s:9')$$, dispute_of(:bad)));
CREATE ROLE dispute_nobody;
GRANT USAGE ON SCHEMA payledger TO dispute_nobody;
SET ROLE dispute_nobody;
SELECT outcome('SELECT payledger.open_dispute(1, 1, ''du_x'')');
SELECT outcome('SELECT payledger.close_dispute(1, ''WON'')');
RESET ROLE;
REVOKE USAGE ON SCHEMA payledger FROM dispute_nobody;
DROP ROLE dispute_nobody;

-- the refunds that wait are refused: nothing is left under way for other tests
SELECT r.seller_id, answer(r.refund_id, 'REFUSED') FROM payledger.refunds r
 WHERE r.seller_id LIKE 'DISPUTE-%' AND r.status = 'REQUESTED' ORDER BY r.refund_id;

---- every check passes, and each finds what it is for ----

SELECT check_name, detail FROM payledger.verify(true) WHERE NOT ok;
CREATE FUNCTION failing() RETURNS TABLE (check_name text, detail text) LANGUAGE sql AS
$$ SELECT v.check_name, regexp_replace(v.detail, '\d{15,}', '<id>', 'g') FROM payledger.verify() v WHERE NOT v.ok $$;
BEGIN;
ALTER TABLE payledger.disputes DISABLE TRIGGER ALL;
ALTER TABLE payledger.payment_orders DISABLE TRIGGER ALL;
SAVEPOINT untouched;
UPDATE payledger.payment_orders SET disputed_amount = 1 WHERE payment_order_id = sold_in(:bad);
SELECT * FROM failing() WHERE check_name !~ 'guarded' ORDER BY 1;
ROLLBACK TO untouched;
UPDATE payledger.disputes SET status = 'LOST', round = 3 WHERE psp_reference = 'du_bad';
SELECT * FROM failing() WHERE check_name !~ 'guarded' ORDER BY 1;
ROLLBACK TO untouched;
UPDATE payledger.disputes SET round = 1 WHERE psp_reference = 'du_lost';
UPDATE payledger.disputes SET borne_by_seller = false WHERE psp_reference = 'du_first';
UPDATE payledger.disputes SET fee_returned = true WHERE psp_reference = 'du_twice';
UPDATE payledger.disputes SET seller_id = 'DISPUTE-2' WHERE psp_reference = 'du_other';
UPDATE payledger.disputes SET psp_reference = 'du_won' WHERE psp_reference = 'du_fx';
UPDATE payledger.disputes SET fee = 7 WHERE psp_reference = 'du_borne';
SELECT check_name FROM failing() ORDER BY 1;
ROLLBACK;
BEGIN;
ALTER TABLE payledger.settlement_items DISABLE TRIGGER ALL;
DELETE FROM payledger.settlement_items WHERE payment_id = :first AND kind = 'CHARGEBACK';
SELECT * FROM failing() WHERE check_name ~ 'dispute';
ROLLBACK;
DROP VIEW orders, books, gone;
DROP FUNCTION captured, sold_in, dispute_of, refund_of, lost, found, sold_by_gone, close_account, failing;
