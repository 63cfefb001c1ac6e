-- Before setup(), setup() itself, and what identifies this library.
\set VERBOSITY terse
SELECT * FROM payledger.version();
SELECT payledger.register_seller('SELLER-111', 'EUR');
SELECT payledger.create_payment_intent('O', 'B', 'EUR', '[]');

SELECT payledger.setup();
SELECT payledger.setup();
SELECT * FROM payledger.version();

-- one incarnation, however often
SELECT count(*), min(incarnation), max(incarnation) FROM payledger.incarnations;

-- the data tables, their types and views are no members of the extension
SELECT c.relname
  FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
 WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'payledger');

-- what every other test uses to show an error: SQLSTATE, message, detail, hint,
-- with ids blotted out
CREATE FUNCTION public.outcome(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN NEXT 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT regexp_replace(state || ' ' || message, '\d{15,}', '<id>', 'g');
	IF detail <> '' AND detail !~ '^Failing row' THEN RETURN NEXT '  ' || regexp_replace(detail, '\d{15,}', '<id>', 'g'); END IF;
	IF hint <> '' THEN RETURN NEXT '  hint: ' || regexp_replace(hint, '\d{15,}', '<id>', 'g'); END IF;
END
$$;

-- The part of the gateway in tests without a worker: the newest request of the
-- target is sent, its answer is lost, and an operator finds out.
CREATE FUNCTION public.answer(target bigint, outcome text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	request bigint;
BEGIN
	SELECT r.psp_request_id INTO STRICT request FROM payledger.psp_requests r
	 WHERE r.target = answer.target AND r.status = 'READY' ORDER BY r.psp_request_id DESC LIMIT 1;
	UPDATE payledger.psp_requests SET status = 'IN_FLIGHT', lease_token = 1, attempt = 1, first_sent_at = now()
	 WHERE psp_request_id = request;
	UPDATE payledger.psp_requests SET status = 'UNKNOWN', lease_token = NULL WHERE psp_request_id = request;
	RETURN (SELECT r.status FROM payledger.resolve_request(request, outcome, 'test') r);
END
$$;

-- money
SELECT payledger.format_amount(1450, 'EUR'), payledger.format_amount(-5, 'EUR'),
	   payledger.format_amount(1450, 'JPY'), payledger.format_amount(1450, 'BHD'),
	   payledger.format_amount(-9223372036854775808, 'EUR'), payledger.format_amount(7, 'CLF');
SELECT payledger.format_amount(1, 'XYZ');
SELECT exponent, count(*) FROM payledger.currencies() GROUP BY exponent ORDER BY exponent;

-- ids grow and carry the node
SELECT bool_and(id > previous), bool_and((id >> 12) & 1023 = 0)
  FROM (SELECT id, lag(id, 1, 0) OVER (ORDER BY n) AS previous
		  FROM (SELECT n, payledger.next_id() AS id FROM generate_series(1, 10000) n) i) j;
SELECT abs(extract(epoch FROM now() - ('2025-01-01 00:00+00'::timestamptz
	+ (payledger.next_id() >> 22) * interval '1 ms'))) < 60 AS id_holds_the_time;

-- settings
SET payledger.traceparent = 'nonsense';
-- its digits are hexadecimal, in lower case, and all of it is as long as the standard has it
SET payledger.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01';
SET payledger.traceparent = '00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01';
SET payledger.traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-';
SET payledger.traceparent = 'fe-4bf92f3577b34da6a3ce929d0e0e47af-09f067aa0ba902b7-01';
RESET payledger.traceparent;
SET payledger.nonsense = 1;
SET payledger.databases = 'x';

-- the machines
SELECT machine, count(*), count(*) FILTER (WHERE from_status IS NULL) AS beginnings
  FROM payledger.transitions GROUP BY machine ORDER BY machine;
SELECT payledger.state_diagram('payment_intent');
SELECT payledger.state_diagram('nothing');
