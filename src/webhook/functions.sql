/* src/webhook/functions.sql: part of the install script */

CREATE FUNCTION receive_webhook(gateway text, headers jsonb, body text)
	RETURNS TABLE (webhook_id bigint, event_id text, event_type text, is_new boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_receive_webhook'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION receive_webhook(text, jsonb, text) FROM PUBLIC;
COMMENT ON FUNCTION receive_webhook(text, jsonb, text) IS
'Takes a webhook as the PSP sent it: checks its signature with the keys webhook_secret of the gateway''s section in the secrets file (all of them, so that a key can be changed), stores each event once, and returns one row an event; is_new is false for one that was known. headers is a JSON object of the HTTP headers, body the bytes exactly as received (UTF-8, at most 1 MB). Answer the PSP with 2xx once the transaction is committed; the gateway worker applies the events. An authentic event is stored whatever is in it: one that cannot be read is PARKED at once, with its problem, for an operator (stat_webhooks.given_up, ignore_webhook); one that does not name itself has the event_type unreadable and a digest as event_id. Where the driver cannot pass every byte as text, use receive_webhook_bytes. Errors: PL012 signature or timestamp refused (answer 400), 55000 no key for the gateway is known, 0A000 its PSP sends no webhooks, PL007 no such gateway, 54000 too large; for a PSP that signs items within the body, 22P02, 22023, 54000, 54001 a body without such items. Example: SELECT * FROM payledger.receive_webhook(''stripe'', ''{"Stripe-Signature": "t=1700000000,v1=..."}'', ''{"id": "evt_1", ...}'');';

CREATE FUNCTION receive_webhook_bytes(gateway text, headers jsonb, body bytea)
	RETURNS TABLE (webhook_id bigint, event_id text, event_type text, is_new boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_receive_webhook_bytes'
	LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION receive_webhook_bytes(text, jsonb, bytea) FROM PUBLIC;
COMMENT ON FUNCTION receive_webhook_bytes(text, jsonb, bytea) IS
'As receive_webhook, with the body as bytes: one that is no text, with a zero byte in it say, reaches the check of its signature too. What is no character is stored as U+FFFD. Errors: as receive_webhook. Example: SELECT * FROM payledger.receive_webhook_bytes(''stripe'', ''{"Stripe-Signature": "t=1700000000,v1=..."}'', ''\x7b226964223a2022657674...'');';

CREATE FUNCTION retry_webhook(gateway text, event_id text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_retry_webhook'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retry_webhook(text, text) FROM PUBLIC;
COMMENT ON FUNCTION retry_webhook(text, text) IS
'Has the gateway worker apply a PARKED event at once, after what stood in its way was put right. Returns its status. Errors: PL007 no such event, PL001 it is not PARKED. Example: SELECT payledger.retry_webhook(''stripe'', ''evt_1'');';

CREATE FUNCTION ignore_webhook(gateway text, event_id text, note text) RETURNS text
	AS 'MODULE_PATHNAME', 'pl_sql_ignore_webhook'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION ignore_webhook(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION ignore_webhook(text, text, text) IS
'An operator''s decision that a PARKED event is not to be applied; the note and who decided stay in its problem. Returns its status. Errors: 22023 no note, PL007 no such event, PL001 it is not PARKED. Example: SELECT payledger.ignore_webhook(''stripe'', ''evt_1'', ''of the old shop'');';

CREATE FUNCTION retry_backfill(gateway text) RETURNS timestamptz
	AS 'MODULE_PATHNAME', 'pl_sql_retry_backfill'
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION retry_backfill(text) FROM PUBLIC;
COMMENT ON FUNCTION retry_backfill(text) IS
'Has the gateway worker read on in a PSP''s own list of events that it has given up because two workers died while they read a page (stat_webhooks.backfill_suspended), after what they died of was put right; if one more dies of it, it is given up again. Returns until when the list was read. Errors: PL007 no list of that gateway was ever read, PL001 it is not given up. Example: SELECT payledger.retry_backfill(''stripe'');';
