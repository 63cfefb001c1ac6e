/*
 * :payments authorized payments of two sellers each, their captures sent and
 * of unknown outcome.  bench.work numbers the captures: first one of each
 * payment, then the other, so that no two clients want one payment at a time.
 */
SELECT payledger.add_gateway('bench', adapter => 'sandbox', is_default => true);
/* they would be opened by the first capture, when the hand-written side has its copy already */
SELECT payledger.open_account('PSP_RECEIVABLES', 'GLOBAL', 'EUR');
SELECT payledger.open_account('PLATFORM_COMMISSION_REVENUE', 'GLOBAL', 'EUR');
CREATE SCHEMA bench;

CREATE TABLE bench.intents AS
	SELECT i, p.payment_intent_id
	  FROM generate_series(1, :payments) i,
	LATERAL payledger.create_payment_intent('ORDER-' || i, 'BUYER-' || i % 1000, 'EUR',
		jsonb_build_array(jsonb_build_object('seller_id', 'SELLER-' || 1 + i % 500, 'amount', 1450),
						  jsonb_build_object('seller_id', 'SELLER-' || 501 + i % 500, 'amount', 1450))) p;
SELECT count(payledger.request_authorization(payment_intent_id, 'pm_ok')) FROM bench.intents;

/* as the gateway worker would have left them when it was killed */
UPDATE payledger.psp_requests
   SET status = 'IN_FLIGHT', attempt = 1, first_sent_at = now(), lease_token = 1, lease_expires_at = now();
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL, lease_expires_at = NULL;
SELECT count(r)
  FROM (SELECT psp_request_id, payment_id FROM payledger.psp_requests WHERE operation = 'AUTHORIZE' ORDER BY 1) a,
LATERAL payledger.resolve_request(a.psp_request_id, 'SUCCEEDED', 'bench', 'pi_' || a.payment_id) r;

UPDATE payledger.psp_requests
   SET status = 'IN_FLIGHT', attempt = 1, first_sent_at = now(), lease_token = 1, lease_expires_at = now()
 WHERE operation = 'CAPTURE';
UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL, lease_expires_at = NULL
 WHERE operation = 'CAPTURE';

CREATE TABLE bench.work AS
	SELECT row_number() OVER (ORDER BY turn, payment_id) - 1 AS n, psp_request_id
	  FROM (SELECT psp_request_id, payment_id, row_number() OVER (PARTITION BY payment_id ORDER BY psp_request_id) AS turn
			  FROM payledger.psp_requests WHERE operation = 'CAPTURE') r;
ALTER TABLE bench.work ADD PRIMARY KEY (n);
