/*
 * src/ledger/balances.c
 *		Balances: what was folded plus what was posted since.
 *
 * No posting updates a balance.  Now and then the keeper folds: it adds the
 * postings that became visible between the snapshot of the last fold and its
 * own to balance_snapshots.  A reader takes the folded balance, and the
 * postings that the fold's snapshot did not see, from one snapshot of its own,
 * and so is exact at every moment and in every isolation level.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "ledger/ledger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

static PlQuery select_balance = {
	"SELECT (CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END"
	" * (coalesce((SELECT s.balance FROM payledger.balance_snapshots s"
	"			   WHERE s.account_id = a.account_id), 0)"
	"	 + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"				 WHERE p.account_id = a.account_id AND p.transaction_no >= f.snapshot_xmax), 0)"
	"	 + coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"				 WHERE p.account_id = a.account_id AND p.transaction_no = ANY (f.snapshot_xip)), 0)))::bigint"
	" FROM payledger.accounts a"
	" JOIN payledger.account_types t ON t.account_type = a.account_type"
	" CROSS JOIN (SELECT snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1) f"
	" WHERE a.account_code = $1", 1, {TEXTOID}
};

static PlQuery select_balance_as_of = {
	"SELECT (CASE t.normal_side WHEN 'DEBIT' THEN 1 ELSE -1 END"
	" * coalesce((SELECT sum(p.amount) FROM payledger.postings p"
	"			  JOIN payledger.journal_entries j ON j.journal_entry_id = p.journal_entry_id"
	"			  WHERE p.account_id = a.account_id AND j.recorded_at <= $2), 0))::bigint"
	" FROM payledger.accounts a"
	" JOIN payledger.account_types t ON t.account_type = a.account_type"
	" WHERE a.account_code = $1", 2, {TEXTOID, TIMESTAMPTZOID}
};

/* Readers go on; a second fold waits, and a writer by hand too. */
static PlQuery lock_folds = {
	"LOCK TABLE payledger.folds IN SHARE ROW EXCLUSIVE MODE", 0
};

static PlQuery select_newest_fold = {
	"SELECT fold_no, snapshot_xmax, snapshot_xip FROM payledger.folds ORDER BY fold_no DESC LIMIT 1", 0
};

/*
 * Fold the window: transactions from $1 up to $2 but for those still open, $3,
 * and those that were open at the last fold and are not any more, $4.  Both
 * come by the index on journal_entries.transaction_no, so a transaction that
 * stays open for hours delays its own rows and nobody else's.  The array and
 * OFFSET 0 make for one index scan of postings an entry, whatever the planner
 * believes about the size of the window.
 */
static PlQuery fold_window = {
	"WITH delta AS ("
	" SELECT p.account_id, sum(p.amount) AS amount, count(*) AS n"
	" FROM unnest(ARRAY("
	"		SELECT j.journal_entry_id FROM payledger.journal_entries j"
	"		WHERE j.transaction_no >= $1 AND j.transaction_no < $2"
	"		  AND j.transaction_no <> ALL ($3)"
	"		UNION ALL"
	"		SELECT j.journal_entry_id FROM payledger.journal_entries j"
	"		WHERE j.transaction_no = ANY ($4))) AS e(journal_entry_id)"
	" CROSS JOIN LATERAL (SELECT account_id, amount FROM payledger.postings"
	"					  WHERE journal_entry_id = e.journal_entry_id OFFSET 0) AS p"
	" GROUP BY p.account_id),"
	" folded AS ("
	" INSERT INTO payledger.balance_snapshots AS s (account_id, balance)"
	" SELECT account_id, amount FROM delta WHERE amount <> 0 ORDER BY account_id"
	" ON CONFLICT (account_id) DO UPDATE SET balance = s.balance + EXCLUDED.balance)"
	" SELECT coalesce(sum(n), 0)::bigint FROM delta",
	4, {INT8OID, INT8OID, INT8ARRAYOID, INT8ARRAYOID}
};

static PlQuery replace_fold = {
	"WITH old AS (DELETE FROM payledger.folds WHERE fold_no = $1)"
	" INSERT INTO payledger.folds (fold_no, folded_at, snapshot_xmax, snapshot_xip, postings)"
	" VALUES ($1 + 1, $2, $3, $4, $5)",
	5, {INT8OID, TIMESTAMPTZOID, INT8OID, INT8ARRAYOID, INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_balance);
PG_FUNCTION_INFO_V1(pl_sql_fold_postings);
PG_FUNCTION_INFO_V1(pl_sql_format_total);

/* ---- reading ---- */

/*
 * balance(account_code text, as_of timestamptz) RETURNS bigint: minor units on
 * the account's normal side, in the caller's snapshot.  PL007 if there is no
 * such account.
 */
Datum
pl_sql_balance(PG_FUNCTION_ARGS)
{
	char	   *account_code = pl_text_arg(fcinfo, 0, "account_code");
	bool		is_now = PG_ARGISNULL(1);
	PlArgs		args = {0};
	int64		balance;

	pl_connect();
	pl_require_layout();
	pl_arg_text(&args, account_code);
	if (!is_now)
		pl_arg_timestamp(&args, PG_GETARG_TIMESTAMPTZ(1));
	if (pl_select(is_now ? &select_balance : &select_balance_as_of, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account \"%s\" does not exist", account_code),
				 errhint("An account code is TYPE.ENTITY.CURRENCY; payledger.accounts lists them.")));
	balance = pl_get_int64(0, 1);
	pl_finish();
	PG_RETURN_INT64(balance);
}

/*
 * format_total(total numeric, currency text) RETURNS text: like format_amount()
 * for sums, which may pass a bigint.
 */
Datum
pl_sql_format_total(PG_FUNCTION_ARGS)
{
	const PlCurrency *currency = pl_check_currency(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	Datum		whole = DirectFunctionCall2(numeric_round, PG_GETARG_DATUM(0), Int32GetDatum(0));
	const char *digits = DatumGetCString(DirectFunctionCall1(numeric_out, whole));
	bool		is_negative = digits[0] == '-';
	StringInfoData out;
	int			length;

	digits += is_negative;
	length = strlen(digits);
	initStringInfo(&out);
	if (is_negative)
		appendStringInfoChar(&out, '-');
	if (currency->exponent == 0 || !isdigit((unsigned char) digits[0]))
		appendStringInfoString(&out, digits);
	else if (length > currency->exponent)
		appendStringInfo(&out, "%.*s.%s", length - currency->exponent, digits,
						 digits + length - currency->exponent);
	else
		appendStringInfo(&out, "0.%0*d%s", currency->exponent - length, 0, digits);
	PG_RETURN_TEXT_P(cstring_to_text_with_len(out.data, out.len));
}

/* ---- folding ---- */

/* The snapshot of the newest fold; sets its number. */
static PlSnapshot *
newest_fold(int64 *fold_no)
{
	PlSnapshot *snapshot = palloc(sizeof(PlSnapshot));
	bool		isnull;
	Datum	   *values;

	if (pl_execute(&select_newest_fold, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table payledger.folds is empty")));
	*fold_no = pl_get_int64(0, 1);
	snapshot->xmax = pl_get_int64(0, 2);
	deconstruct_array(DatumGetArrayTypeP(pl_get_datum(0, 3, &isnull)), INT8OID, sizeof(int64),
					  FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &values, NULL, &snapshot->nxip);
	snapshot->xip = palloc(sizeof(int64) * Max(snapshot->nxip, 1));
	for (int i = 0; i < snapshot->nxip; i++)
		snapshot->xip[i] = DatumGetInt64(values[i]);
	return snapshot;
}

/*
 * The present as a snapshot, without this transaction: it may go on posting
 * under the same number.
 */
static PlSnapshot *
present(void)
{
	PlSnapshot *snapshot;
	int64		own;
	int			i;

	/* the active one may be older than the wait for the lock */
	PushActiveSnapshot(GetTransactionSnapshot());
	snapshot = pl_current_snapshot();
	PopActiveSnapshot();

	if (!TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return snapshot;
	own = pl_transaction_no();
	if (!pl_visible(snapshot, own))
		return snapshot;
	snapshot->xip = repalloc(snapshot->xip, sizeof(int64) * (snapshot->nxip + 1));
	for (i = snapshot->nxip++; i > 0 && snapshot->xip[i - 1] > own; i--)
		snapshot->xip[i] = snapshot->xip[i - 1];
	snapshot->xip[i] = own;
	return snapshot;
}

/*
 * The transactions that were open in the older snapshot and are over in the
 * newer one.
 */
static PlSnapshot *
finished_since(const PlSnapshot *older, const PlSnapshot *newer)
{
	PlSnapshot *finished = palloc0(sizeof(PlSnapshot));
	bool		is_newer = older->xmax <= newer->xmax;

	for (int i = 0; i < newer->nxip && is_newer; i++)
		is_newer = !pl_visible(older, newer->xip[i]);
	if (!is_newer)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("transaction numbers went back since the last fold of postings"),
				 errdetail("The fold saw all below " INT64_FORMAT ", the next is " INT64_FORMAT ".",
						   older->xmax, newer->xmax)));

	finished->xip = palloc(sizeof(int64) * Max(older->nxip, 1));
	for (int i = 0; i < older->nxip; i++)
		if (pl_visible(newer, older->xip[i]))
			finished->xip[finished->nxip++] = older->xip[i];
	return finished;
}

/*
 * Add the postings that became visible since the last fold to
 * balance_snapshots.  Returns their number; writes nothing if there are none.
 * Opens its own SPI connection.  Holds SHARE ROW EXCLUSIVE on folds until the
 * end of the transaction, so that two folds never run at once; readers and
 * posters never wait for it.
 */
uint64
pl_fold_postings(void)
{
	PlSnapshot *last;
	PlSnapshot *now;
	PlSnapshot *finished;
	int64		fold_no;
	uint64		folded = 0;

	pl_connect();
	pl_execute(&lock_folds, NULL);
	last = newest_fold(&fold_no);
	now = present();
	finished = finished_since(last, now);

	if (now->xmax > last->xmax || finished->nxip > 0)
	{
		PlArgs		args = {0};

		pl_arg_int64(&args, last->xmax);
		pl_arg_int64(&args, now->xmax);
		pl_arg(&args, pl_snapshot_xip(now));
		pl_arg(&args, pl_snapshot_xip(finished));
		pl_execute(&fold_window, &args);
		folded = pl_get_int64(0, 1);
	}
	if (folded > 0)
	{
		PlArgs		args = {0};

		pl_arg_int64(&args, fold_no);
		pl_arg_timestamp(&args, GetCurrentTimestamp());
		pl_arg_int64(&args, now->xmax);
		pl_arg(&args, pl_snapshot_xip(now));
		pl_arg_int64(&args, folded);
		pl_execute(&replace_fold, &args);
	}
	pl_finish();
	return folded;
}

/*
 * fold_postings() RETURNS bigint
 */
Datum
pl_sql_fold_postings(PG_FUNCTION_ARGS)
{
	pl_connect();
	pl_require_layout();
	pl_finish();
	PG_RETURN_INT64(pl_fold_postings());
}
