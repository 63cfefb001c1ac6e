\set QUIET on
\set ON_ERROR_STOP on
\pset footer off
\pset linestyle unicode
\pset border 2

\echo '-- Once per database: the extension, its tables, a gateway (the embedded sandbox) and two sellers.'
CREATE EXTENSION payledger;
SELECT payledger.setup() AS layout_version;
SELECT gateway, adapter, is_default FROM payledger.add_gateway('sandbox', adapter => 'sandbox', is_default => true);
SELECT * FROM payledger.register_seller('SELLER-111', 'EUR', commission_bps => 1000);
SELECT * FROM payledger.register_seller('SELLER-222', 'EUR');

\echo '-- The checkout: one call, in the transaction that also writes your own order.'
CREATE TABLE shop_orders (order_id text PRIMARY KEY, payment_intent_id bigint NOT NULL);
BEGIN;
SELECT payment_intent_id, status, total_amount
  FROM payledger.create_payment_intent('ORDER-1', 'BUYER-1', 'EUR',
       '[{"seller_id":"SELLER-111","amount":1450},{"seller_id":"SELLER-222","amount":1450}]',
       idempotency_key => 'checkout-1') \gset
INSERT INTO shop_orders VALUES ('ORDER-1', :payment_intent_id);
COMMIT;
SELECT * FROM shop_orders;

\echo '-- Authorize: commits the request, waits for the worker, returns what the PSP said.'
CALL payledger.authorize(:payment_intent_id, 'pm_ok');

\echo '-- The worker captures each seller''s order, posts the ledger and publishes.'
CALL payledger.wait_until_idle('20 s');
SELECT status, total_amount, captured_amount FROM payledger.payments;
SELECT seller_id, amount, captured_amount, status FROM payledger.payment_orders ORDER BY seller_id;

\echo '-- Every state it went through:'
SELECT to_char(at, 'HH24:MI:SS.MS') AS at, machine, from_status, to_status FROM payledger.state_history
 WHERE payment_id = :payment_intent_id AND machine <> 'psp_request' ORDER BY history_id;

\echo '-- The journal, one line a posting:'
SELECT entry_type, account_code, debit, credit FROM payledger.journal ORDER BY journal_entry_id, leg;

\echo '-- The trial balance nets to zero; the sellers are owed what is left after commission:'
SELECT account_code, debit, credit FROM payledger.trial_balance;
SELECT * FROM payledger.seller_balances;

\echo '-- A card that is declined, and one whose answer got lost on the way:'
SELECT payment_intent_id FROM payledger.create_payment_intent('ORDER-2', 'BUYER-2', 'EUR', '[{"seller_id":"SELLER-222","amount":990}]') \gset
CALL payledger.authorize(:payment_intent_id, 'pm_declined');
SELECT payment_intent_id FROM payledger.create_payment_intent('ORDER-3', 'BUYER-3', 'EUR', '[{"seller_id":"SELLER-222","amount":500}]') \gset
CALL payledger.authorize(:payment_intent_id, 'pm_lost_reply');
CALL payledger.wait_until_idle('30 s');
SELECT order_id, total, intent_status, payment_status, captured, decline_code FROM payledger.payment_overview ORDER BY payment_id;

\echo '-- A part of the first order comes back damaged: a refund reserves the seller''s funds at once, the worker pays it.'
SELECT r.seller_id, r.amount, r.status, r.reason
  FROM payledger.payment_orders o JOIN payledger.payments p USING (payment_id), payledger.refund(o.payment_order_id, 450, 'damaged') r
 WHERE p.order_id = 'ORDER-1' AND o.seller_id = 'SELLER-111';
CALL payledger.wait_until_idle('20 s');
SELECT order_id, payment_status, captured, refunded, commission, refunds FROM payledger.payment_overview WHERE order_id = 'ORDER-1';

\echo '-- Before the PSP settles, what was captured is pending and nothing can be paid out:'
SELECT seller_id, currency, balance, pending, available FROM payledger.seller_balances ORDER BY seller_id;

\echo '-- The PSP settles: its report is imported, matched line by line with what it owes, and posted.'
SELECT report_id, status, lines FROM payledger.import_settlement('sandbox', 'REPORT-1',
	payledger.sandbox_settlement('sandbox', fee_bps => 200));
SELECT status, lines, matched, exceptions, totals FROM payledger.reconcile_settlement('REPORT-1');
SELECT seller_id, currency, balance, pending, available FROM payledger.seller_balances ORDER BY seller_id;

\echo '-- A payout: every Monday by schedule, or now on request.'
SELECT seller_id, schedule, payout_day, beneficiary FROM payledger.set_payout_terms('SELLER-111', 'EUR', beneficiary => 'ba_ok', schedule => 'weekly', payout_day => 1);
SELECT seller_id, amount, status FROM payledger.request_payout('SELLER-111', 'EUR');
CALL payledger.wait_until_idle('20 s');
SELECT seller_id, amount, status FROM payledger.payouts;

\echo '-- What the seller sees, and what an operator sees of the whole life of that payment:'
SELECT kind, entry_type, order_id, debit_formatted AS debit, credit_formatted AS credit, balance_formatted AS balance
  FROM payledger.seller_statement('SELLER-111', 'EUR');
SELECT to_char(t.at, 'HH24:MI:SS.MS') AS at, t.source, t.what
  FROM payledger.payments p, payledger.payment_timeline(p.payment_id) t WHERE p.order_id = 'ORDER-1' AND t.source <> 'event';
SELECT account_code, debit, credit FROM payledger.trial_balance WHERE debit <> credit;

\echo '-- Everything agrees with everything:'
SELECT check_name, ok FROM payledger.verify();
\echo '-- The workers:'
SELECT * FROM payledger.stat_outbox;
