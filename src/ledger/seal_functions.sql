/* src/ledger/seal_functions.sql: part of the install script */

CREATE FUNCTION entry_digests(first_id bigint DEFAULT -9223372036854775808, last_id bigint DEFAULT 9223372036854775807)
	RETURNS TABLE (journal_entry_id bigint, digest bytea, postings int, transaction_no bigint)
	AS 'MODULE_PATHNAME', 'pl_sql_entry_digests'
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED ROWS 1000000 COST 1000000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off;
REVOKE ALL ON FUNCTION entry_digests(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION entry_digests(bigint, bigint) IS
'The digests of the entries with an id from first_id to last_id as the journal is now, in the order of their ids: the first 16 bytes of the SHA-256 over an entry and its postings, in the form that src/ledger/digests.c describes. digest is null where there are postings without an entry, transaction_no (the lowest of the postings) where there are no postings. Errors: PL010 not set up. Example: SELECT * FROM payledger.entry_digests(7345678901234567890, 7345678901234567890);';

CREATE FUNCTION account_digests(account_ids bigint[] DEFAULT NULL) RETURNS TABLE (account_id bigint, digest bytea)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT a.account_id,
		   substr(sha256(convert_to(jsonb_build_array(a.account_id, a.account_code, a.account_type, a.entity_id, a.currency,
													  a.ledger, t.category, t.normal_side)::text, 'UTF8')), 1, 16)
	  FROM payledger.accounts a
	  LEFT JOIN payledger.account_types t ON t.account_type = a.account_type
	 WHERE account_ids IS NULL OR a.account_id = ANY (account_ids)
$$;
REVOKE ALL ON FUNCTION account_digests(bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION account_digests(bigint[]) IS
'The digests of the accounts given, or of all, as they are now: the first 16 bytes of the SHA-256 over the text of a JSON array of what never changes of an account and its type. Errors: PL010 not set up. Example: SELECT * FROM payledger.account_digests();';

CREATE FUNCTION sealed_digests(digests bytea) RETURNS TABLE (id bigint, digest bytea)
	AS 'MODULE_PATHNAME', 'pl_sql_sealed_digests'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE ROWS 1000;
COMMENT ON FUNCTION sealed_digests(bytea) IS
'What a seal has of entries, or of accounts: their ids and digests as they were sealed. Example: SELECT e.* FROM payledger.seals s, payledger.sealed_digests(s.digests) e WHERE s.seal_no = 1;';

/*
 * An entry is in the window of the first fold that sees its transaction, so
 * the fold before, or for want of a seal the newest, has a bound for its id.
 * An entry that has none, or a lower id, was not posted when it says.
 */
CREATE FUNCTION tampered_entries()
	RETURNS TABLE (journal_entry_id bigint, seal_no bigint, offence text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH unseen AS (
		SELECT CASE WHEN i.system_identifier = (SELECT c.system_identifier::text FROM pg_control_system() c)
					 AND i.database_oid = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
					THEN (i.incarnation::bigint << 48)
						 + greatest(pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
									pg_current_xact_id_if_assigned()::text::bigint + 1)
					ELSE (i.incarnation + 1)::bigint << 48 END AS transaction_no
		  FROM payledger.incarnations i ORDER BY i.incarnation DESC LIMIT 1),
	sealed AS (
		SELECT x.id AS journal_entry_id, x.digest, s.seal_no, s.fold_no
		  FROM payledger.seals s CROSS JOIN LATERAL payledger.sealed_digests(s.digests) x),
	entries AS (
		SELECT coalesce(e.journal_entry_id, s.journal_entry_id) AS journal_entry_id, s.seal_no, s.fold_no,
			   s.digest AS sealed_digest, e.digest, e.postings, e.transaction_no,
			   coalesce(s.fold_no - 1, (SELECT max(f.fold_no) FROM payledger.folds f)) AS last_fold
		  FROM payledger.entry_digests() e
		  FULL JOIN sealed s ON s.journal_entry_id = e.journal_entry_id)
	SELECT o.journal_entry_id, o.seal_no,
		   format(CASE o.what
				  WHEN 'deleted' THEN 'entry %1$s was deleted since seal %2$s'
				  WHEN 'header' THEN 'entry %1$s was deleted since seal %2$s, its postings are still there'
				  WHEN 'postings' THEN 'the postings of entry %1$s were deleted since seal %2$s'
				  WHEN 'changed' THEN 'entry %1$s was changed since seal %2$s'
				  WHEN 'parts' THEN 'entry %1$s was inserted in parts'
				  WHEN 'number' THEN 'entry %1$s was inserted with a transaction number that was never given out'
				  WHEN 'unsealed' THEN 'entry %1$s was inserted behind fold %3$s, which should have sealed it'
				  ELSE 'entry %1$s was inserted with an id from before fold %3$s' END,
				  o.journal_entry_id, o.seal_no, o.last_fold)
	  FROM (SELECT e.*, CASE
				   WHEN e.sealed_digest IS NOT NULL THEN
						CASE WHEN e.postings IS NULL THEN 'deleted'
							 WHEN e.digest IS NULL THEN 'header'
							 WHEN e.postings = 0 THEN 'postings'
							 WHEN e.digest <> e.sealed_digest THEN 'changed'
							 WHEN f.fold_no IS NULL OR e.journal_entry_id > b.id THEN NULL
							 ELSE 'id' END
				   WHEN e.digest IS NULL OR e.postings = 0 THEN 'parts'
				   WHEN e.transaction_no >= unseen.transaction_no THEN 'number'
				   WHEN b.id IS NULL THEN 'unsealed'
				   WHEN e.journal_entry_id <= b.id THEN 'id' END AS what
			  FROM entries e
			 CROSS JOIN unseen
			  LEFT JOIN payledger.folds f ON f.fold_no = e.last_fold
			 CROSS JOIN LATERAL (
					SELECT CASE WHEN e.transaction_no >= f.snapshot_xmax THEN f.xmax_after
								ELSE f.xip_after[array_position(f.snapshot_xip, e.transaction_no)] END AS id) b) o
	 WHERE o.what IS NOT NULL
	 ORDER BY o.journal_entry_id
$$;
REVOKE ALL ON FUNCTION tampered_entries() FROM PUBLIC;
COMMENT ON FUNCTION tampered_entries() IS
'Every entry that was changed or deleted since it was sealed, or was inserted past the posting functions, with the seal that has it: compares all seals with the whole journal, some seconds for a million entries. payledger.verify(deep => true) shows the first five. That the seals themselves are what they were is for payledger.broken_seals() to say. Errors: PL010 not set up. Example: SELECT * FROM payledger.tampered_entries();';

CREATE FUNCTION tampered_accounts()
	RETURNS TABLE (account_id bigint, seal_no bigint, offence text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT coalesce(s.id, b.account_id), s.seal_no,
		   format(CASE WHEN s.id IS NULL THEN 'account %1$s was inserted after its postings'
					   WHEN d.account_id IS NULL THEN 'account %1$s was deleted since seal %2$s'
					   ELSE 'account %1$s was changed since seal %2$s: it is %3$s now' END,
				  coalesce(s.id, b.account_id), s.seal_no,
				  (SELECT a.account_code || ' in ledger ' || a.ledger FROM payledger.accounts a WHERE a.account_id = s.id))
	  FROM (SELECT x.id, x.digest, s.seal_no
			  FROM payledger.seals s CROSS JOIN LATERAL payledger.sealed_digests(s.accounts) x) s
	  FULL JOIN payledger.balance_snapshots b ON b.account_id = s.id
	  LEFT JOIN payledger.account_digests() d ON d.account_id = coalesce(s.id, b.account_id)
	 WHERE d.digest IS DISTINCT FROM s.digest
	 ORDER BY 1, 2
$$;
REVOKE ALL ON FUNCTION tampered_accounts() FROM PUBLIC;
COMMENT ON FUNCTION tampered_accounts() IS
'Every account that was deleted, or changed its code, type, entity, currency or ledger, or the category or normal side of its type, since its first posting was sealed, with the seal that has it. Errors: PL010 not set up. Example: SELECT * FROM payledger.tampered_accounts();';

CREATE FUNCTION broken_seals(last_seal bigint DEFAULT 9223372036854775807)
	RETURNS TABLE (seal_no bigint, offence text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT c.seal_no,
		   CASE WHEN c.seal_no = c.previous_seal + 2 THEN format('seal %s is missing', c.seal_no - 1)
				WHEN c.seal_no <> c.previous_seal + 1 THEN
					 format('seals %s to %s are missing', c.previous_seal + 1, c.seal_no - 1)
				WHEN c.sha256 <> c.computed THEN
					 format('seal %s was changed, or the one before it: its SHA-256 does not match', c.seal_no)
				ELSE format('seal %s is of fold %s, the one before of fold %s', c.seal_no, c.fold_no, c.previous_fold) END
	  FROM (SELECT s.seal_no, s.fold_no, s.sha256,
				   lag(s.seal_no, 1, 0::bigint) OVER w AS previous_seal,
				   lag(s.fold_no, 1, 0::bigint) OVER w AS previous_fold,
				   sha256(lag(s.sha256, 1, ''::bytea) OVER w || int8send(s.seal_no) || int8send(s.fold_no)
						  || timestamptz_send(s.sealed_at) || int4send(s.entries) || s.digests || s.accounts) AS computed
			  FROM payledger.seals s
			 WHERE s.seal_no <= last_seal
			WINDOW w AS (ORDER BY s.seal_no)) c
	 WHERE c.seal_no <> c.previous_seal + 1 OR c.sha256 <> c.computed OR c.fold_no < c.previous_fold
	 ORDER BY c.seal_no
$$;
REVOKE ALL ON FUNCTION broken_seals(bigint) FROM PUBLIC;
COMMENT ON FUNCTION broken_seals(bigint) IS
'The seals, up to last_seal, that do not follow from the one before: recomputes the whole chain. Nobody who changed a seal can hide it but by recomputing all after it, and then a copy of a later SHA-256 kept elsewhere tells: payledger.check_seal(). Errors: PL010 not set up. Example: SELECT * FROM payledger.broken_seals();';

CREATE FUNCTION check_seal(seal_no bigint, sha256 bytea) RETURNS boolean
	LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM payledger.seals s
					WHERE s.seal_no = check_seal.seal_no AND s.sha256 = check_seal.sha256)
	   AND NOT EXISTS (SELECT FROM payledger.broken_seals(check_seal.seal_no))
$$;
REVOKE ALL ON FUNCTION check_seal(bigint, bytea) FROM PUBLIC;
COMMENT ON FUNCTION check_seal(bigint, bytea) IS
'Is the seal still the one of which this SHA-256 was kept elsewhere, and are all before it intact? Then payledger.verify(deep => true) proves the journal up to it, even against somebody who could recompute every seal. Keep the newest now and then: SELECT seal_no, sha256 FROM payledger.seals ORDER BY seal_no DESC LIMIT 1. Errors: PL010 not set up. Example: SELECT payledger.check_seal(1, decode(''9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'', ''hex''));';

CREATE FUNCTION seal_of(journal_entry_id bigint)
	RETURNS TABLE (seal_no bigint, fold_no bigint, sealed_at timestamptz, sha256 bytea, digest bytea, is_unchanged boolean)
	LANGUAGE sql STABLE STRICT PARALLEL RESTRICTED ROWS 1
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT s.seal_no, s.fold_no, s.sealed_at, s.sha256, x.digest,
		   coalesce(x.digest = (SELECT e.digest FROM payledger.entry_digests(seal_of.journal_entry_id, seal_of.journal_entry_id) e),
					false)
	  FROM payledger.seals s CROSS JOIN LATERAL payledger.sealed_digests(s.digests) x
	 WHERE s.fold_no >= (SELECT f.fold_no FROM payledger.folds f
						  WHERE f.newest_id >= seal_of.journal_entry_id ORDER BY f.newest_id, f.fold_no LIMIT 1)
	   AND x.id = seal_of.journal_entry_id
	 ORDER BY s.fold_no, s.seal_no LIMIT 1
$$;
REVOKE ALL ON FUNCTION seal_of(bigint) FROM PUBLIC;
COMMENT ON FUNCTION seal_of(bigint) IS
'The seal that has an entry, the digest that it has of it, and whether the entry is still what was sealed; no row for an entry that no fold has seen yet. Errors: PL010 not set up. Example: SELECT seal_no, sealed_at, is_unchanged FROM payledger.seal_of(7345678901234567890);';
