/*
 * src/settlement/exceptions.c
 *		resolve_exception(): what an operator decides about a line, an operation
 *		or a report's cash that did not match.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "ledger/ledger.h"
#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/formatting.h"

#define MAX_NOTE_LENGTH 1000

/* What a row of settlement_exceptions and the line it is about say; amounts in minor units. */
typedef struct Exception
{
	int64		settlement_exception_id;
	int64		settlement_report_id;
	char	   *category;
	char	   *status;
	char	   *line_type;		/* NULL: none */
	int64		payment_id;
	bool		has_object;
	int64		object_id;
	TimestampTz occurred_at;
	int64		expected_amount;
	char	   *expected_currency;
	/* of the line */
	bool		has_line;
	int32		line_no;
	char	   *currency;
	int64		gross;
	int64		fee;
	int64		net;
} Exception;

/* What settling the items of an exception came to. */
typedef struct SettledItems
{
	int64		operation;		/* items of the operation itself */
	int64		all;			/* with those of a chargeback's fee */
	int			n;
	PlFeeShare *shares;
} SettledItems;

static PlQuery select_gateway = {
	"SELECT r.gateway FROM payledger.settlement_exceptions e"
	" JOIN payledger.settlement_reports r ON r.settlement_report_id = e.settlement_report_id"
	" WHERE e.settlement_exception_id = $1", 1, {INT8OID}
};

static PlQuery lock_exception = {
	"SELECT e.settlement_report_id, e.category::text, e.status::text, e.line_type::text, e.payment_id, e.object_id,"
	" e.occurred_at, e.expected_amount, e.expected_currency, l.line_no, l.currency, l.gross, l.fee, l.net"
	" FROM payledger.settlement_exceptions e"
	" JOIN payledger.settlement_reports r ON r.settlement_report_id = e.settlement_report_id"
	" LEFT JOIN payledger.settlement_lines l"
	"  ON l.gateway = r.gateway AND l.report_id = r.report_id AND l.line_no = e.line_no"
	" WHERE e.settlement_exception_id = $1 FOR UPDATE OF e", 1, {INT8OID}
};

/*
 * $1 report, $2 line, $3 payment, $4 kind, $5 kind of its fee or null, $6 object
 * and $7 moment or null for all of the kind, $8 currency, $9 rules by which
 * sellers pay fees.
 */
static PlQuery settle_items = {
	"UPDATE payledger.settlement_items i SET settlement_report_id = $1, line_no = $2"
	" WHERE i.payment_id = $3 AND i.settlement_report_id IS NULL AND i.currency = $8"
	"  AND i.kind::text IN ($4, $5) AND ($6 IS NULL OR i.object_id = $6 AND i.occurred_at = $7)"
	" RETURNING i.seller_id, i.amount, i.kind::text = $4,"
	"  coalesce((SELECT o.commission_rule_id FROM payledger.payment_orders o"
	"   WHERE o.payment_id = i.payment_id AND o.payment_order_id = i.payment_order_id) = ANY ($9), false)",
	9, {INT8OID, INT4OID, INT8OID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID, TEXTOID, INT8ARRAYOID}
};

static PlQuery set_resolved = {
	"UPDATE payledger.settlement_exceptions SET status = $2::payledger.settlement_exception_status, note = $3,"
	" resolved_at = $4, resolved_by = $5 WHERE settlement_exception_id = $1"
	" RETURNING settlement_exception_id, category::text, status::text, note, resolved_by, resolved_at",
	5, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_resolve_exception);

/* ---- reading ---- */

/* Lock the gateway, then read the exception under lock; PL007 if there is none. */
static void
read_exception(int64 settlement_exception_id, Exception *exception)
{
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_int64(&args, settlement_exception_id);
	if (pl_execute_latest(&select_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("settlement exception " INT64_FORMAT " does not exist", settlement_exception_id),
				 errhint("payledger.reconciliation_exceptions lists them.")));
	pl_lock_gateway(pl_get_text(0, 1));
	pl_execute_latest(&lock_exception, &args);

	memset(exception, 0, sizeof(Exception));
	exception->settlement_exception_id = settlement_exception_id;
	exception->settlement_report_id = pl_get_int64(0, 1);
	exception->category = pl_get_text(0, 2);
	exception->status = pl_get_text(0, 3);
	exception->line_type = pl_get_text(0, 4);
	exception->payment_id = pl_isnull(0, 5) ? 0 : pl_get_int64(0, 5);
	exception->has_object = !pl_isnull(0, 6);
	exception->object_id = exception->has_object ? pl_get_int64(0, 6) : 0;
	exception->occurred_at = DatumGetTimestampTz(pl_get_datum(0, 7, &isnull));
	exception->expected_amount = pl_isnull(0, 8) ? 0 : pl_get_int64(0, 8);
	exception->expected_currency = pl_get_text(0, 9);
	exception->has_line = !pl_isnull(0, 10);
	if (exception->has_line)
	{
		exception->line_no = pl_get_int32(0, 10);
		exception->currency = pl_get_text(0, 11);
		exception->gross = pl_get_int64(0, 12);
		exception->fee = pl_get_int64(0, 13);
		exception->net = pl_get_int64(0, 14);
	}
}

static bool
is_category(const Exception *exception, const char *category)
{
	return strcmp(exception->category, category) == 0;
}

/* ---- items ---- */

/* The kind of the items of the fee that a chargeback's line brings; NULL: none. */
static const char *
fee_kind(const Exception *exception)
{
	if (!exception->has_line || exception->fee == 0)
		return NULL;
	if (strcmp(exception->line_type, "chargeback") == 0)
		return "CHARGEBACK_FEE";
	if (strcmp(exception->line_type, "chargeback_reversal") == 0)
		return "CHARGEBACK_FEE_REVERSAL";
	return NULL;
}

/*
 * Settle the items of the exception's operation, which must still be open and
 * come to the gross that was expected: PL001 otherwise.
 */
static void
settle(const Exception *exception, const PlFeePayers *payers, int64 expected, SettledItems *settled)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, exception->settlement_report_id);
	if (exception->has_line)
		pl_arg_int32(&args, exception->line_no);
	else
		pl_arg_null(&args);
	pl_arg_int64(&args, exception->payment_id);
	pl_arg_text(&args, asc_toupper(exception->line_type, strlen(exception->line_type)));
	pl_arg_text(&args, fee_kind(exception));
	if (exception->has_object)
	{
		pl_arg_int64(&args, exception->object_id);
		pl_arg_timestamp(&args, exception->occurred_at);
	}
	else
	{
		pl_arg_null(&args);
		pl_arg_null(&args);
	}
	pl_arg_text(&args, exception->expected_currency);
	pl_arg(&args, payers->rules);

	memset(settled, 0, sizeof(SettledItems));
	settled->n = pl_execute_latest(&settle_items, &args);
	settled->shares = palloc0(sizeof(PlFeeShare) * Max(settled->n, 1));
	for (int i = 0; i < settled->n; i++)
	{
		PlFeeShare *share = &settled->shares[i];

		share->seller_id = pl_get_text(i, 1);
		share->amount = pl_get_int64(i, 2);
		share->pays = pl_get_bool(i, 4);
		settled->all = pl_add_amount(settled->all, share->amount);
		if (pl_get_bool(i, 3))
			settled->operation = pl_add_amount(settled->operation, share->amount);
	}
	if (settled->operation != expected)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("the operation of settlement exception " INT64_FORMAT " is not open any more",
						exception->settlement_exception_id),
				 errdetail("Another report or resolution settled it."),
				 errhint("Dismiss the exception, or post what remains with payledger.post_entry().")));
}

/* ---- what the PSP said is accepted ---- */

static void
post_write_off(PlWork *work, const Exception *exception, int64 amount)
{
	const int64 amounts[PL_PARTS] = {amount, amount, amount};

	(void) pl_post_template_parts(work->entries, "SETTLEMENT_WRITE_OFF", 0,
								  psprintf("SETTLEMENT_WRITE_OFF:" INT64_FORMAT, exception->settlement_exception_id),
								  0, NULL, exception->expected_currency, amounts);
}

/* Cash and fee of the line against gross, of which it is the rest. */
static void
post_line(PlWork *work, const Exception *exception, const char *entry_type, int64 gross)
{
	const int64 amounts[PL_PARTS] = {
		[PL_PART_WHOLE] = gross,
		[PL_PART_NET] = exception->net,
		[PL_PART_FEE] = pl_add_amount(gross, -exception->net)
	};

	(void) pl_post_template_parts(work->entries, entry_type, 0,
								  psprintf("%s:" INT64_FORMAT ":%s", entry_type,
										   exception->settlement_exception_id, exception->currency),
								  0, NULL, exception->currency, amounts);
}

/*
 * OVER, UNDER, FEE_DIFFERENCE: the operation is settled by the line; what its
 * gross differs by is written off, and the fee is what it is.
 */
static void
accept_line(PlWork *work, const Exception *exception)
{
	PlFeePayers payers;
	SettledItems settled;
	int64		expected = is_category(exception, "FEE_DIFFERENCE") ? exception->gross : exception->expected_amount;
	int64		difference = pl_add_amount(exception->gross, -expected);

	pl_find_fee_payers(&payers);
	settle(exception, &payers, expected, &settled);
	post_line(work, exception, "SETTLEMENT", pl_add_amount(settled.all, difference));
	post_write_off(work, exception, -difference);
	if (payers.exist && exception->fee != 0 && strcmp(exception->line_type, "capture") == 0)
		pl_post_recharges(work, pl_share_fee(NIL, exception->currency, exception->fee, settled.shares, settled.n),
						  exception->settlement_exception_id);
}

static void
accept_missing(PlWork *work, const Exception *exception)
{
	PlFeePayers payers;
	SettledItems settled;

	pl_find_fee_payers(&payers);
	settle(exception, &payers, exception->expected_amount, &settled);
	post_write_off(work, exception, settled.all);
}

static void
accept(PlWork *work, const Exception *exception)
{
	if (is_category(exception, "CASH_DIFFERENCE"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settlement exception " INT64_FORMAT " can only be dismissed",
						exception->settlement_exception_id),
				 errdetail("A difference of cash says nothing about what it is for."),
				 errhint("Post what explains it with payledger.post_entry(), then dismiss it.")));
	if (is_category(exception, "MISSING_AT_PSP"))
		accept_missing(work, exception);
	else if (is_category(exception, "OVER") || is_category(exception, "UNDER") ||
			 is_category(exception, "FEE_DIFFERENCE"))
		accept_line(work, exception);
	else
		post_line(work, exception, "SETTLEMENT_SUSPENSE", exception->gross);
}

static void
check_resolution(const char *resolution)
{
	if (strcmp(resolution, "ACCEPTED") != 0 && strcmp(resolution, "DISMISSED") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("resolution \"%s\" does not exist", resolution),
				 errhint("It is ACCEPTED, which posts what the PSP said, or DISMISSED, which posts nothing.")));
}

/*
 * resolve_exception(settlement_exception_id bigint, resolution text, note text)
 *		Locks the gateway and the exception.
 */
Datum
pl_sql_resolve_exception(PG_FUNCTION_ARGS)
{
	int64		id = pl_int64_arg(fcinfo, 0, "settlement_exception_id");
	char	   *resolution = pl_text_arg(fcinfo, 1, "resolution");
	char	   *note = pl_text_arg(fcinfo, 2, "note");
	Exception	exception;
	SPITupleTable *reply;
	PlArgs		args = {0};
	PlWork	   *work;

	check_resolution(resolution);
	pl_check_text("note", note, MAX_NOTE_LENGTH);
	pl_connect();
	pl_require_layout();
	read_exception(id, &exception);
	if (strcmp(exception.status, "OPEN") != 0)
		pl_illegal_transition("settlement_exception", id, exception.status, resolution);

	work = pl_work_begin("resolve_exception");
	if (strcmp(resolution, "ACCEPTED") == 0)
		accept(work, &exception);
	pl_arg_int64(&args, id);
	pl_arg_text(&args, resolution);
	pl_arg_text(&args, note);
	pl_arg_timestamp(&args, work->now);
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute_latest(&set_resolved, &args);
	reply = SPI_tuptable;
	pl_work_end(work);

	SPI_tuptable = reply;
	SPI_processed = 1;
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
