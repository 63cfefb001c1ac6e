/*
 * The hand-written side: balance rows, a transfer with two entries, the same
 * indexes as payledger's journal, and no foreign keys or triggers, because
 * these functions are all that writes.  Locks are taken in the order of the
 * accounts' ids, by the updates themselves where there are two.
 */
CREATE TABLE accounts (
	account_id	bigint PRIMARY KEY,
	code		text NOT NULL UNIQUE,
	currency	text NOT NULL,
	balance		bigint NOT NULL DEFAULT 0,
	floor		bigint,
	CHECK (balance >= floor)
) WITH (fillfactor = 50);

CREATE TABLE transfers (
	transfer_id	bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	created_at	timestamptz NOT NULL DEFAULT now(),
	effective_at timestamptz NOT NULL DEFAULT now(),
	metadata	jsonb
);

CREATE TABLE entries (
	transfer_id	bigint NOT NULL,
	account_id	bigint NOT NULL,
	amount		bigint NOT NULL,
	leg			smallint NOT NULL,
	PRIMARY KEY (transfer_id, leg)
);
CREATE INDEX ON entries (account_id, transfer_id);

CREATE FUNCTION transfer(from_account bigint, to_account bigint, amount bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	first bigint := least(from_account, to_account);
	first_change bigint := CASE WHEN first = from_account THEN -amount ELSE amount END;
	first_currency text;
	second_currency text;
	id bigint;
BEGIN
	IF amount <= 0 OR from_account = to_account THEN
		RAISE EXCEPTION 'a transfer needs two accounts and an amount above 0';
	END IF;
	UPDATE accounts SET balance = balance + first_change WHERE account_id = first
	RETURNING currency INTO first_currency;
	UPDATE accounts SET balance = balance - first_change WHERE account_id = greatest(from_account, to_account)
	RETURNING currency INTO second_currency;
	IF (first_currency = second_currency) IS NOT TRUE THEN
		RAISE EXCEPTION 'accounts % and % do not both exist in one currency', from_account, to_account;
	END IF;
	INSERT INTO transfers DEFAULT VALUES RETURNING transfer_id INTO id;
	INSERT INTO entries VALUES (id, from_account, -amount, 1), (id, to_account, amount, 2);
	RETURN id;
END
$$;

/* returns the number of transfers */
CREATE FUNCTION transfer_batch(from_accounts bigint[], to_accounts bigint[], amounts bigint[]) RETURNS bigint
LANGUAGE plpgsql SET work_mem = '64MB' AS $$
DECLARE
	wanted bigint;
	found bigint;
	currencies bigint;
	ids bigint[];
BEGIN
	IF EXISTS (SELECT FROM unnest(from_accounts, to_accounts, amounts) t(f, o, amount)
				WHERE (amount > 0 AND f <> o) IS NOT TRUE) THEN
		RAISE EXCEPTION 'a transfer needs two accounts and an amount above 0';
	END IF;

	SELECT count(DISTINCT id) INTO wanted FROM unnest(from_accounts || to_accounts) id;
	SELECT count(*), count(DISTINCT currency) INTO found, currencies
	  FROM (SELECT currency FROM accounts WHERE account_id = ANY (from_accounts || to_accounts)
			 ORDER BY account_id FOR NO KEY UPDATE) locked;
	IF found <> wanted OR currencies <> 1 THEN
		RAISE EXCEPTION 'the accounts do not all exist in one currency';
	END IF;

	UPDATE accounts a
	   SET balance = a.balance + change.amount
	  FROM (SELECT id, sum(amount)::bigint AS amount
			  FROM (SELECT f, -amount FROM unnest(from_accounts, amounts) t(f, amount)
					 UNION ALL
					SELECT o, amount FROM unnest(to_accounts, amounts) t(o, amount)) leg(id, amount)
			 GROUP BY id) change
	 WHERE a.account_id = change.id;

	ids := ARRAY(SELECT nextval('transfers_transfer_id_seq') FROM generate_series(1, cardinality(amounts)));
	INSERT INTO transfers (transfer_id) OVERRIDING SYSTEM VALUE SELECT unnest(ids);
	INSERT INTO entries
		SELECT t.id, leg.account, leg.amount, leg.no
		  FROM unnest(ids, from_accounts, to_accounts, amounts) t(id, f, o, amount),
	   LATERAL (VALUES (t.f, -t.amount, 1), (t.o, t.amount, 2)) leg(account, amount, no);
	RETURN cardinality(amounts);
END
$$;

INSERT INTO accounts SELECT n, 'SELLER-' || n, 'EUR', 0, CASE n WHEN 1002 THEN 0 END FROM generate_series(1, 1002) n;
INSERT INTO bench.accounts SELECT account_id, account_id FROM accounts;
SELECT transfer(1001, 1002, 1000000000000000);

CREATE TABLE bench.batches (
	workload int,
	size	int,
	batch	int,
	from_accounts bigint[] NOT NULL,
	to_accounts bigint[] NOT NULL,
	amounts	bigint[] NOT NULL,
	PRIMARY KEY (workload, size, batch)
);
ALTER TABLE bench.batches
	ALTER from_accounts SET STORAGE EXTERNAL, ALTER to_accounts SET STORAGE EXTERNAL, ALTER amounts SET STORAGE EXTERNAL;
INSERT INTO bench.batches
	SELECT workload, size, batch, array_agg(from_n::bigint ORDER BY i), array_agg(to_n::bigint ORDER BY i),
		   array_agg(amount::bigint ORDER BY i)
	  FROM bench.transfers
	 GROUP BY workload, size, batch;
DROP TABLE bench.transfers;
