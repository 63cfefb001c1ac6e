/* src/dispute/functions.sql: part of the install script */

CREATE FUNCTION open_dispute(payment_order_id bigint, amount bigint, psp_reference text, reason text DEFAULT NULL,
							 fee bigint DEFAULT 0, evidence_due_at timestamptz DEFAULT NULL,
							 borne_by_seller boolean DEFAULT true)
	RETURNS TABLE (dispute_id bigint, payment_id bigint, payment_order_id bigint, seller_id text, amount bigint,
				   currency text, fee bigint, status text, round int, borne_by_seller boolean, reason text,
				   gateway text, psp_reference text, evidence_due_at timestamptz,
				   created_at timestamptz, updated_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_open_dispute'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION open_dispute(bigint, bigint, text, text, bigint, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION open_dispute(bigint, bigint, text, text, bigint, timestamptz, boolean) IS
'Records that the PSP charged a payment order back: amount and the PSP''s fee in minor units of the payment''s currency. The amount may be above what was captured, because the issuer converts at its own rate: what a caller states is believed, while a PSP''s notice of more than twice what was captured is PARKED until somebody has called this. The seller bears it, also below zero, or the platform: if borne_by_seller is false or the seller''s account is CLOSED; the fee is the platform''s. What is disputed cannot be refunded as long as the dispute is not WON, and refunds not yet sent are withdrawn. psp_reference is the PSP''s id of the dispute: the same again returns the same row and posts nothing. Errors: 22004 argument missing, 22023 bad argument, 22003 overflow, PL001 nothing of the order is captured, PL006 opened before with another amount or fee or for another payment, PL007 no such order, PL010 not set up, PL011 card data. Example: SELECT d.dispute_id, d.status FROM payledger.payments p JOIN payledger.payment_orders o USING (payment_id), payledger.open_dispute(o.payment_order_id, 1450, ''du_1'', ''fraudulent'', fee => 1500, evidence_due_at => now() + interval ''7 days'') d WHERE p.order_id = ''ORDER-1'' AND o.seller_id = ''SELLER-111'';';

CREATE FUNCTION open_payment_dispute(payment_id bigint, amount bigint, psp_reference text, reason text DEFAULT NULL,
									 fee bigint DEFAULT 0, evidence_due_at timestamptz DEFAULT NULL,
									 borne_by_seller boolean DEFAULT true)
	RETURNS TABLE (dispute_id bigint, payment_id bigint, payment_order_id bigint, seller_id text, amount bigint,
				   currency text, fee bigint, status text, round int, borne_by_seller boolean, reason text,
				   gateway text, psp_reference text, evidence_due_at timestamptz,
				   created_at timestamptz, updated_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_open_payment_dispute'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 4
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION open_payment_dispute(bigint, bigint, text, text, bigint, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION open_payment_dispute(bigint, bigint, text, text, bigint, timestamptz, boolean) IS
'Like payledger.open_dispute() for a chargeback of a whole payment, which the PSP reports without saying whose goods it is about: shared out over its orders by what each captured and has not refunded (by what each captured if all is refunded), to the minor unit; one dispute an order, the fee with the first. The same psp_reference again returns the same rows. Errors: 22004 argument missing, 22023 bad argument, 22003 overflow, PL001 nothing of the payment is captured, PL006 opened before with another amount or fee or for another payment, PL007 no such payment, PL010 not set up, PL011 card data. Example: SELECT d.seller_id, d.amount FROM payledger.payments p, payledger.open_payment_dispute(p.payment_id, 2900, ''du_2'', fee => 1500) d WHERE p.order_id = ''ORDER-1'';';

CREATE FUNCTION submit_evidence(dispute_id bigint, evidence jsonb)
	RETURNS TABLE (dispute_id bigint, payment_id bigint, payment_order_id bigint, seller_id text, amount bigint,
				   currency text, fee bigint, status text, round int, borne_by_seller boolean, reason text,
				   gateway text, psp_reference text, evidence_due_at timestamptz,
				   created_at timestamptz, updated_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_submit_evidence'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION submit_evidence(bigint, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION submit_evidence(bigint, jsonb) IS
'Records the evidence that was sent to the PSP, a JSON object of texts and references; the dispute is UNDER_REVIEW from then on. Evidence after evidence_due_at is recorded with a NOTICE: the PSP decides whether it counts. payledger.dispute_overview shows what is due and what had been refunded. Errors: 22004 argument missing, 22023 evidence is no object, empty or too large, PL001 the dispute does not need a response, PL007 no such dispute, PL010 not set up, PL011 card data. Example: SELECT e.status FROM payledger.disputes d, payledger.submit_evidence(d.dispute_id, ''{"tracking_number": "JJD0099", "delivered_on": "2026-01-04"}'') e WHERE d.psp_reference = ''du_1'';';

CREATE FUNCTION close_dispute(dispute_id bigint, outcome text, fee_returned boolean DEFAULT false)
	RETURNS TABLE (dispute_id bigint, payment_id bigint, payment_order_id bigint, seller_id text, amount bigint,
				   currency text, fee bigint, status text, round int, borne_by_seller boolean, reason text,
				   gateway text, psp_reference text, evidence_due_at timestamptz,
				   created_at timestamptz, updated_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_close_dispute'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION close_dispute(bigint, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION close_dispute(bigint, text, boolean) IS
'Records the decision: WON, the PSP gave the amount back, and the fee with it if fee_returned, so the mirror entries are posted and the order can be refunded again; or LOST, nothing more is posted. A decision may be overturned, WON to LOST or LOST to WON: the next round. A win for a seller whose account was CLOSED since goes to SETTLEMENT_SUSPENSE of that seller, for finance to decide. Errors: 22004 argument missing, 22023 bad argument or no fee to return, PL001 closed so already, PL007 no such dispute, PL010 not set up. Example: SELECT c.* FROM payledger.disputes d, payledger.close_dispute(d.dispute_id, ''WON'', fee_returned => d.fee > 0) c WHERE d.psp_reference = ''du_2'';';
