/* src/ledger/post_functions.sql: part of the install script */

CREATE FUNCTION post_entry(entry_type text, postings jsonb, reference text DEFAULT NULL,
		effective_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL, publish boolean DEFAULT false,
		OUT journal_entry_id bigint, OUT recorded_at timestamptz, OUT effective_at timestamptz, OUT replayed boolean)
	AS 'MODULE_PATHNAME', 'pl_sql_post_entry'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION post_entry(text, jsonb, text, timestamptz, jsonb, boolean) FROM PUBLIC;
COMMENT ON FUNCTION post_entry(text, jsonb, text, timestamptz, jsonb, boolean) IS
'Posts one entry. postings is an array of {"account": code, "amount": minor units, debit positive}, two or more, that net to zero in every ledger and currency. entry_type is any name in upper case. reference makes the post idempotent: posted before with the same content, the first entry is returned and replayed is true. effective_at: when it takes effect, if not now. metadata: an object of at most 16 kB, kept with the entry. publish: also append the event ledger_entries_recorded. Errors: PL002 unbalanced or fewer than two legs, PL004 a floor or ceiling, PL006 reference used for another entry, PL007 unknown account, PL008 account not active, PL009 period closed, PL010 not set up, PL011 card data, 22003 amount or sum out of range, 22004 a null argument, 22023 anything malformed, 25006 read-only transaction, 54000 more than 32767 legs. Example: SELECT * FROM payledger.post_entry(''RENT'', ''[{"account":"BANK_FEES.GLOBAL.EUR","amount":950},{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":-950}]'', reference => ''rent-2025-01'');';

CREATE FUNCTION post_entries(entries jsonb, atomic boolean DEFAULT true, publish boolean DEFAULT false)
	RETURNS TABLE (n int, journal_entry_id bigint, verdict text, sqlstate text, message text)
	AS 'MODULE_PATHNAME', 'pl_sql_post_entries'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 10000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION post_entries(jsonb, boolean, boolean) FROM PUBLIC;
COMMENT ON FUNCTION post_entries(jsonb, boolean, boolean) IS
'Posts an array of {"entry_type", "postings", "reference", "effective_at", "metadata"} with the meaning of the arguments of payledger.post_entry(); the last three may be missing, effective_at is text in ISO 8601 with its time zone. One row for each, n from 1 in the order given: POSTED, REPLAYED (its reference was posted before, with the same content) or DENIED with sqlstate and message. atomic: the first entry that cannot be posted raises its error and none is posted, and floors and ceilings hold for the net of all; otherwise such entries are DENIED, each judged by what the accepted ones before it left. A hundred thousand entries and more may be given at once; payledger.stat_progress_post_entries shows how far it is. Errors: those of payledger.post_entry(), and for effective_at PostgreSQL''s own for a time that is none, 22007, 22008 and 22009. Example: SELECT * FROM payledger.post_entries(''[{"entry_type":"RENT","reference":"rent-2025-02","postings":[{"account":"BANK_FEES.GLOBAL.EUR","amount":950},{"account":"PLATFORM_CASH.GLOBAL.EUR","amount":-950}]}]'', atomic => false);';

CREATE FUNCTION reverse_entry(journal_entry_id bigint, reason text, postings jsonb DEFAULT NULL,
		effective_at timestamptz DEFAULT NULL, publish boolean DEFAULT false,
		OUT journal_entry_id bigint, OUT recorded_at timestamptz, OUT effective_at timestamptz)
	AS 'MODULE_PATHNAME', 'pl_sql_reverse_entry'
	LANGUAGE C VOLATILE PARALLEL UNSAFE COST 1000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp;
REVOKE ALL ON FUNCTION reverse_entry(bigint, text, jsonb, timestamptz, boolean) FROM PUBLIC;
COMMENT ON FUNCTION reverse_entry(bigint, text, jsonb, timestamptz, boolean) IS
'Takes an entry back: posts <entry type>_REVERSAL, which names it as the one it reverses, with the legs'' sides exchanged and metadata {"reason": reason}. Without postings, all that is left of the entry; with postings, that part, as legs of the reversal. The parts never exceed the entry. Errors: PL004 a floor or ceiling, PL005 more than is left of it, or nothing is, PL007 no such entry, PL008 account not active, PL009 period closed, 22023 it is a reversal itself, and those of payledger.post_entry() for postings. Example: SELECT * FROM payledger.reverse_entry(journal_entry_id, ''wrong seller'') FROM payledger.journal_entries WHERE reference = ''rent-2025-01'';';

CREATE FUNCTION stat_progress_post_entries()
	RETURNS TABLE (pid int, datid oid, phase text, entries_total bigint, entries_processed bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_stat_progress_post_entries'
	LANGUAGE C VOLATILE PARALLEL SAFE ROWS 3;
REVOKE ALL ON FUNCTION stat_progress_post_entries() FROM PUBLIC;
COMMENT ON FUNCTION stat_progress_post_entries() IS
'One row for each call of payledger.post_entries() under way in the cluster; see the view of the same name. Errors: 55000 if the library is not in shared_preload_libraries. Example: SELECT * FROM payledger.stat_progress_post_entries();';
