-- Copies of real events for other aggregates: ids, subjects and keys of their
-- own, the payloads as they are.
CREATE TABLE public.bench_events AS
	SELECT row_number() OVER (ORDER BY e.seq) - 1 AS n, dense_rank() OVER (ORDER BY e.aggregatetype, e.aggregateid) AS aggregate, e.*
	  FROM payledger.outbox_events e;
ALTER TABLE public.bench_events ADD PRIMARY KEY (n);

-- Appends at least that many events, so many a transaction, as the library
-- appends them: the transaction's id before the sequence.
CREATE PROCEDURE public.bench_fill(events bigint, per_transaction int) LANGUAGE plpgsql AS $$
DECLARE
	templates bigint := (SELECT count(*) FROM public.bench_events);
	incarnation bigint := (SELECT max(i.incarnation) FROM payledger.incarnations i);
	copy bigint := (SELECT last_value FROM payledger.outbox_seq) / templates + 1;
	appended bigint := 0;
	next bigint := 0;
	no bigint;
BEGIN
	SET synchronous_commit = off;
	WHILE appended < events LOOP
		no := incarnation << 48 | pg_current_xact_id()::text::bigint;
		INSERT INTO payledger.outbox_events (id, aggregatetype, aggregateid, type, payload, "timestamp", version, event_key,
											 ce_source, ce_time, ce_subject, traceparent, transaction_no)
		SELECT gen_random_uuid(), e.aggregatetype, copy_id, e.type, e.payload, e."timestamp", e.version,
			   CASE WHEN e.event_key = e.aggregateid THEN copy_id ELSE e.event_key END,
			   e.ce_source, e.ce_time, copy_id, e.traceparent, no
		  FROM (SELECT b.*, (100000000000000000 + copy * 1000000 + b.aggregate)::text AS copy_id
				  FROM public.bench_events b WHERE b.n >= next AND b.n < next + per_transaction ORDER BY b.n) e;
		COMMIT;
		appended := appended + least(per_transaction, templates - next);
		next := next + per_transaction;
		IF next >= templates THEN
			next := 0;
			copy := copy + 1;
		END IF;
	END LOOP;
END $$;
