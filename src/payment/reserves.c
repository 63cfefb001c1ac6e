/*
 * src/payment/reserves.c
 *		Rolling reserves: a share of each capture is withheld for some days.
 *
 * What is withheld is in the seller's account MERCHANT_RESERVE and in a row of
 * reserves; the row's lock orders its releases.  It is released when it is due,
 * when its capture turns out to have failed, or early, to cover a negative
 * balance.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "payment/payment_internal.h"
#include "utils/fmgrprotos.h"

/* rows that the keeper releases in one transaction */
#define RELEASE_AT_ONCE 500

#define RESERVE_COLUMNS \
	"r.payment_id, r.psp_request_id, r.payment_order_id, r.seller_id, r.currency, r.released_amount," \
	" r.amount - r.released_amount"

/* The subquery is not run for sellers without a reserve. */
static PlQuery find_terms = {
	"SELECT t.reserve_bps, t.reserve_days,"
	" coalesce((SELECT sum(r.amount - r.released_amount) FROM payledger.reserves r"
	"			WHERE r.payment_id = $3 AND r.payment_order_id = $4), 0)::bigint"
	" FROM payledger.reserve_terms t"
	" WHERE t.seller_id = $1 AND t.currency = $2 AND t.reserve_bps > 0", 4, {TEXTOID, TEXTOID, INT8OID, INT8OID}
};

static PlQuery insert_reserve = {
	"INSERT INTO payledger.reserves"
	" (payment_id, psp_request_id, payment_order_id, seller_id, currency, amount, release_at, created_at)"
	" VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
	8, {INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID}
};

static PlQuery lock_of_capture = {
	"SELECT " RESERVE_COLUMNS " FROM payledger.reserves r"
	" WHERE r.payment_id = $1 AND r.psp_request_id = $2 AND r.payment_order_id = $3"
	"	AND r.released_amount < r.amount FOR NO KEY UPDATE", 3, {INT8OID, INT8OID, INT8OID}
};

#define LOCK_OF_SELLER \
	"SELECT " RESERVE_COLUMNS " FROM payledger.reserves r" \
	" WHERE r.seller_id = $1 AND r.currency = $2 AND r.released_amount < r.amount" \
	" ORDER BY r.release_at, r.payment_id, r.psp_request_id, r.payment_order_id LIMIT $3 FOR NO KEY UPDATE"

static PlQuery lock_of_seller = {LOCK_OF_SELLER, 3, {TEXTOID, TEXTOID, INT4OID}};

static PlQuery lock_free_of_seller = {LOCK_OF_SELLER " SKIP LOCKED", 3, {TEXTOID, TEXTOID, INT4OID}};

/* A closed account must not keep the reserves of all others. */
static PlQuery lock_due = {
	"SELECT " RESERVE_COLUMNS " FROM payledger.reserves r"
	" WHERE r.release_at <= $1 AND r.released_amount < r.amount"
	"	AND NOT EXISTS (SELECT FROM payledger.accounts a"
	"		WHERE a.account_code IN ('MERCHANT_PAYABLE.' || r.seller_id || '.' || r.currency,"
	"			'MERCHANT_RESERVE.' || r.seller_id || '.' || r.currency) AND a.status = 'CLOSED')"
	" ORDER BY r.release_at LIMIT $2 FOR NO KEY UPDATE OF r SKIP LOCKED", 2, {TIMESTAMPTZOID, INT8OID}
};

static PlQuery add_released = {
	"UPDATE payledger.reserves r SET released_amount = r.released_amount + u.a"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4))"
	"  AS u(p, q, o, a)"
	" WHERE r.payment_id = u.p AND r.psp_request_id = u.q AND r.payment_order_id = u.o",
	4, {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID}
};

PG_FUNCTION_INFO_V1(pl_sql_release_due_reserves);

/* ---- withholding ---- */

/* bps hundredths of a per cent of amount (>= 0), rounded half up. */
static int64
share_of(int64 amount, int32 bps)
{
	/* amount * bps may pass 63 bits, so the whole units go apart */
	return amount / 10000 * bps + (amount % 10000 * bps + 5000) / 10000;
}

/*
 * Withhold the seller's share of a capture of that amount, in minor units, as
 * its terms say; never more than what the order brings the seller.  The order's
 * amounts include the capture and its commission.  Within the unit of work,
 * under the payment's lock.
 */
void
pl_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order, int64 psp_request_id,
					  int64 amount)
{
	PlArgs		terms = {0};
	PlArgs		args = {0};
	int64		net = order->captured_amount - order->refunded_amount - order->refund_pending_amount -
		(order->commission_amount - order->commission_refunded_amount);
	int64		reserve;
	int32		days;

	pl_arg_text(&terms, order->seller_id);
	pl_arg_text(&terms, payment->currency);
	pl_arg_int64(&terms, payment->payment_id);
	pl_arg_int64(&terms, order->payment_order_id);
	if (pl_execute(&find_terms, &terms) == 0)
		return;
	days = pl_get_int32(0, 2);
	reserve = Min(share_of(amount, pl_get_int32(0, 1)), net - pl_get_int64(0, 3));
	if (reserve <= 0)
		return;

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, psp_request_id);
	pl_arg_int64(&args, order->payment_order_id);
	pl_arg_text(&args, order->seller_id);
	pl_arg_text(&args, payment->currency);
	pl_arg_int64(&args, reserve);
	pl_arg_timestamp(&args, pl_grace_from(work->now) + days * USECS_PER_DAY);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_reserve, &args);
	pl_post_template(work->entries, "RESERVE_HOLD", payment->payment_id,
					 psprintf("RESERVE_HOLD:" INT64_FORMAT ":" INT64_FORMAT, psp_request_id, order->payment_order_id),
					 0, order->seller_id, payment->currency, reserve);
}

/* ---- releasing ---- */

/* The rows of the last result, which has RESERVE_COLUMNS. */
static PlReserveRelease *
read_reserves(int n)
{
	PlReserveRelease *reserves = palloc(sizeof(PlReserveRelease) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		reserves[i].payment_id = pl_get_int64(i, 1);
		reserves[i].psp_request_id = pl_get_int64(i, 2);
		reserves[i].payment_order_id = pl_get_int64(i, 3);
		reserves[i].seller_id = pl_get_text(i, 4);
		reserves[i].currency = pl_get_text(i, 5);
		reserves[i].released_before = pl_get_int64(i, 6);
		reserves[i].amount = pl_get_int64(i, 7);
	}
	return reserves;
}

/*
 * Lock up to limit rows of which something is held of the seller, the ones that
 * are due first before the others, and read them; palloc'd, *n is their number.
 * Rows that somebody else releases are waited for or, if not waits, left.
 * Needs an open SPI connection.
 */
PlReserveRelease *
pl_lock_reserves(const char *seller_id, const char *currency, bool waits, int limit, int *n)
{
	PlArgs		args = {0};

	pl_arg_text(&args, seller_id);
	pl_arg_text(&args, currency);
	pl_arg_int32(&args, limit);
	*n = pl_execute_latest(waits ? &lock_of_seller : &lock_free_of_seller, &args);
	return read_reserves(*n);
}

/*
 * {"note": note} as the metadata of an entry; nothing if either is NULL.
 */
void
pl_note_entry(PlEntry *entry, const char *note)
{
	StringInfoData metadata;

	if (entry == NULL || note == NULL)
		return;
	initStringInfo(&metadata);
	appendStringInfoChar(&metadata, '{');
	pl_json_text(&metadata, "note", note);
	appendStringInfoChar(&metadata, '}');
	entry->metadata = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(metadata.data)));
}

/*
 * Release n parts of reserves within the unit of work.  Their rows are locked.
 * What was released of a row before makes the reference of each release unique.
 * The entries carry the note, unless it is NULL.
 */
void
pl_release_reserves(PlWork *work, const PlReserveRelease *releases, int n, const char *note)
{
	int64	   *columns[4];
	PlArgs		args = {0};

	if (n == 0)
		return;
	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(int64) * n);
	for (int i = 0; i < n; i++)
	{
		const PlReserveRelease *release = &releases[i];

		columns[0][i] = release->payment_id;
		columns[1][i] = release->psp_request_id;
		columns[2][i] = release->payment_order_id;
		columns[3][i] = release->amount;
		pl_note_entry(pl_post_template(work->entries, "RESERVE_RELEASE", release->payment_id,
									   psprintf("RESERVE_RELEASE:" INT64_FORMAT ":" INT64_FORMAT ":" INT64_FORMAT,
												release->psp_request_id, release->payment_order_id,
												release->released_before),
									   0, release->seller_id, release->currency, release->amount), note);
	}
	for (int c = 0; c < (int) lengthof(columns); c++)
		pl_arg_ids(&args, columns[c], n);
	pl_execute_latest(&add_released, &args);
}

/*
 * The capture was reversed: release what is still withheld of it.  Within the
 * unit of work, under the payment's lock; waits for who releases it otherwise.
 */
void
pl_release_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order, int64 psp_request_id)
{
	PlArgs		args = {0};
	int			n;

	pl_arg_int64(&args, payment->payment_id);
	pl_arg_int64(&args, psp_request_id);
	pl_arg_int64(&args, order->payment_order_id);
	n = pl_execute_latest(&lock_of_capture, &args);
	pl_release_reserves(work, read_reserves(n), n, NULL);
}

/*
 * Release reserves that are due, up to RELEASE_AT_ONCE rows.  Returns their
 * number.  Locks the rows, skipping locked ones.  Opens its own SPI connection.
 */
int
pl_release_due_reserves(void)
{
	PlArgs		args = {0};
	int			n;

	pl_connect();
	/* an operator who closes an account waits for those who post to it */
	(void) pl_lock_journal();
	pl_arg_timestamp(&args, pl_due_now());
	pl_arg_int64(&args, RELEASE_AT_ONCE);
	n = pl_execute_latest(&lock_due, &args);
	if (n > 0)
	{
		PlReserveRelease *due = read_reserves(n);
		PlWork	   *work = pl_work_begin("release_due_reserves");

		pl_release_reserves(work, due, n, NULL);
		pl_work_end(work);
	}
	pl_finish();
	return n;
}

/*
 * release_due_reserves() RETURNS int
 */
Datum
pl_sql_release_due_reserves(PG_FUNCTION_ARGS)
{
	pl_connect();
	pl_require_layout();
	pl_finish();
	PG_RETURN_INT32(pl_release_due_reserves());
}
