-- The books of docs/finance.md: a marketplace from January to March 2026.
-- Run by test/finance, on a server whose clock is the file :clock.
\set ON_ERROR_STOP on
CREATE EXTENSION payledger;
SELECT payledger.setup();

CREATE SCHEMA story;
CREATE FUNCTION story.clock_is(path text, at timestamp) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	/* in place: see test/clock/step_clock.c */
	EXECUTE format('COPY (SELECT %L) TO PROGRAM %L', extract(epoch FROM at)::bigint,
				   format('perl -e ''open(my $f, "+<", $ARGV[0]) or die $!; syswrite($f, pack("qq", 0, <STDIN>)) == 16 or die $!'' %s', path));
	/* payledger distrusts a clock that leaps */
	PERFORM payledger.confirm_clock();
END
$$;

-- one amount, debited to one account and credited to another
CREATE FUNCTION story.book(entry_type text, debit text, credit text, amount bigint, document text) RETURNS bigint LANGUAGE sql AS $$
	SELECT journal_entry_id FROM payledger.post_entry(entry_type, jsonb_build_array(
			jsonb_build_object('account', debit, 'amount', amount), jsonb_build_object('account', credit, 'amount', -amount)),
		reference => entry_type || ':' || document, metadata => jsonb_build_object('order', document))
$$;
-- an order paid for at the PSP, and the commission on it
CREATE FUNCTION story.sell(document text, seller text, currency text, amount bigint, commission bigint) RETURNS void LANGUAGE sql AS $$
	SELECT story.book('SALE', 'PSP_RECEIVABLES.GLOBAL.' || currency, 'MERCHANT_PAYABLE.' || seller || '.' || currency, amount, document),
		   story.book('COMMISSION', 'MERCHANT_PAYABLE.' || seller || '.' || currency, 'PLATFORM_COMMISSION_REVENUE.GLOBAL.' || currency,
					  commission, document)
$$;
-- what the PSP pays for orders to a bank
CREATE FUNCTION story.settle(document text, bank text, gross bigint, fee bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT journal_entry_id FROM payledger.post_entry('PSP_SETTLEMENT', jsonb_build_array(
			jsonb_build_object('account', 'PLATFORM_CASH.' || bank || '.EUR', 'amount', gross - fee),
			jsonb_build_object('account', 'PSP_FEE_EXPENSE.GLOBAL.EUR', 'amount', fee),
			jsonb_build_object('account', 'PSP_RECEIVABLES.GLOBAL.EUR', 'amount', -gross)),
		reference => 'PSP_SETTLEMENT:' || document, metadata => jsonb_build_object('order', document))
$$;

SELECT count(*) FROM (VALUES ('PLATFORM_CASH', 'EU.BANK-A', 'EUR'), ('PLATFORM_CASH', 'EU.BANK-B', 'EUR'), ('PSP_RECEIVABLES', 'GLOBAL', 'EUR'),
		('PSP_RECEIVABLES', 'GLOBAL', 'USD'), ('REFUND_CLEARING', 'GLOBAL', 'EUR'), ('PLATFORM_COMMISSION_REVENUE', 'GLOBAL', 'EUR'),
		('PLATFORM_COMMISSION_REVENUE', 'GLOBAL', 'USD'), ('PSP_FEE_EXPENSE', 'GLOBAL', 'EUR'), ('BANK_FEES', 'GLOBAL', 'EUR'),
		('MERCHANT_PAYABLE', 'SELLER-111', 'EUR'), ('MERCHANT_PAYABLE', 'SELLER-111', 'USD'), ('MERCHANT_PAYABLE', 'SELLER-222', 'EUR'),
		('MERCHANT_PAYABLE', 'SELLER-333', 'EUR')) AS v(t, e, c)
 CROSS JOIN LATERAL payledger.open_account(t, e, c);

-- January
SELECT story.clock_is(:'clock', '2026-01-07 10:00');
SELECT story.sell('O-1001', 'SELLER-111', 'EUR', 12000, 1200);
SELECT story.clock_is(:'clock', '2026-01-12 15:30');
SELECT story.sell('O-1002', 'SELLER-222', 'EUR', 8000, 800);
SELECT story.clock_is(:'clock', '2026-01-20 09:15');
SELECT story.sell('O-1003', 'SELLER-333', 'EUR', 20000, 2000);
SELECT story.clock_is(:'clock', '2026-01-22 06:00');
SELECT story.settle('O-1001', 'EU.BANK-A', 12000, 198), story.settle('O-1002', 'EU.BANK-A', 8000, 142);
SELECT story.clock_is(:'clock', '2026-01-28 12:00');
SELECT story.book('SELLER_PAYOUT', 'MERCHANT_PAYABLE.SELLER-111.EUR', 'PLATFORM_CASH.EU.BANK-A.EUR', 10800, 'P-01');

-- February
SELECT story.clock_is(:'clock', '2026-02-03 18:20');
SELECT story.sell('O-1004', 'SELLER-222', 'EUR', 6000, 600), story.sell('O-1005', 'SELLER-111', 'USD', 4500, 450);
SELECT story.clock_is(:'clock', '2026-02-05 11:45');
SELECT story.book('SALE_REFUND', 'MERCHANT_PAYABLE.SELLER-222.EUR', 'REFUND_CLEARING.GLOBAL.EUR', 3000, 'O-1002'),
	   story.book('SALE_REFUND_PAID', 'REFUND_CLEARING.GLOBAL.EUR', 'PSP_RECEIVABLES.GLOBAL.EUR', 3000, 'O-1002');
-- SELLER-333 had been promised 5 %: the correction takes effect when the mistake did
SELECT story.clock_is(:'clock', '2026-02-09 14:00');
SELECT r.* FROM payledger.journal_entries j,
	payledger.reverse_entry(j.journal_entry_id, 'contract says 5 %', effective_at => j.effective_at, postings =>
		'[{"account":"PLATFORM_COMMISSION_REVENUE.GLOBAL.EUR","amount":1000},{"account":"MERCHANT_PAYABLE.SELLER-333.EUR","amount":-1000}]') r
 WHERE j.reference = 'COMMISSION:O-1003';
SELECT story.clock_is(:'clock', '2026-02-10 09:00');
CALL payledger.close_period('MAIN', '2026-01-01');
SELECT story.clock_is(:'clock', '2026-02-12 06:00');
SELECT story.settle('O-1003', 'EU.BANK-B', 20000, 310);
SELECT story.clock_is(:'clock', '2026-02-26 23:00');
SELECT story.book('BANK_FEE', 'BANK_FEES.GLOBAL.EUR', 'PLATFORM_CASH.EU.BANK-A.EUR', 450, 'INV-88');

-- March
SELECT story.clock_is(:'clock', '2026-03-02 10:00');
SELECT story.book('BANK_FEE', 'BANK_FEES.GLOBAL.EUR', 'PLATFORM_CASH.EU.BANK-B.EUR', 900, 'INV-89');
SELECT payledger.reverse_entry(journal_entry_id, 'invoice was for another company')
  FROM payledger.journal_entries WHERE reference = 'BANK_FEE:INV-89';
SELECT story.clock_is(:'clock', '2026-03-10 16:40');
SELECT story.sell('O-1006', 'SELLER-333', 'EUR', 9000, 450);
SELECT story.clock_is(:'clock', '2026-03-15 12:00');
SELECT story.book('SELLER_PAYOUT', 'MERCHANT_PAYABLE.SELLER-222.EUR', 'PLATFORM_CASH.EU.BANK-A.EUR', 4000, 'P-02');
SELECT story.clock_is(:'clock', '2026-03-24 08:00');
SELECT h.* FROM payledger.place_hold('MERCHANT_PAYABLE.SELLER-333.EUR', 5000, expires_at => '2026-04-15 00:00+00', reference => 'P-03',
									 metadata => '{"why": "payout under review"}') h;
SELECT payledger.fold_postings();

-- the day on which the questions are asked
SELECT story.clock_is(:'clock', '2026-03-31 17:00');
