/*
 * src/settlement/reports.c
 *		The rows of settlement_reports: registered with their first line, locked
 *		while they are reconciled.
 *
 * Whoever adds lines holds the report's row FOR KEY SHARE until the commit, and
 * a reconciliation holds it FOR UPDATE: it sees all lines or waits for them, and
 * none comes after it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "settlement/settlement.h"
#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/tuplestore.h"

#define MAX_REPORT_ID_LENGTH 255

/* Columns of payledger.settlement_lines, which only ever grows at the end. */
#define LINE_GATEWAY	1
#define LINE_REPORT		2
#define LINE_NO			3
#define LINE_PAYMENT	5
#define LINE_REFERENCE	6
#define LINE_CURRENCY	7
#define LINE_GROSS		8
#define LINE_FEE		9
#define LINE_NET		10
#define LINE_TIME		11

static const char *const report_states[] = {"IMPORTED", "RECONCILED"};

static const PlEdge report_edges[] = {
	{NULL, "IMPORTED"},
	{"IMPORTED", "RECONCILED"},
};

static const char *const exception_states[] = {"OPEN", "ACCEPTED", "DISMISSED"};

static const PlEdge exception_edges[] = {
	{NULL, "OPEN"},
	{"OPEN", "ACCEPTED"},
	{"OPEN", "DISMISSED"},
};

static const PlMachine machines[] = {
	PL_MACHINE("settlement_report", report_states, report_edges),
	PL_MACHINE("settlement_exception", exception_states, exception_edges),
};

/*
 * Make the room's machines known.  Called from _PG_init.
 */
void
pl_settlement_init(void)
{
	for (int i = 0; i < (int) lengthof(machines); i++)
		pl_register_machine(&machines[i]);
}

static const Oid line_types[] = {TEXTOID, TEXTOID, INT4OID, InvalidOid, TEXTOID, TEXTOID, TEXTOID,
INT8OID, INT8OID, INT8OID, TIMESTAMPTZOID};

/* Above any PSP's day in any currency, minor units; sums of them still fit a balance. */
#define MAX_LINE_AMOUNT INT64CONST(10000000000000000)

/* how far ahead of now a line may have happened: only what is another age is refused */
#define MAX_LINE_AHEAD	(366 * USECS_PER_DAY)

#define MAX_LINE_TEXT	255		/* characters */
#define MAX_ID_DIGITS	19

static PlQuery gateway_exists = {
	"SELECT FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

static PlQuery lock_gateway = {
	"SELECT FROM payledger.gateways WHERE gateway = $1 FOR NO KEY UPDATE", 1, {TEXTOID}
};

static PlQuery insert_report = {
	"INSERT INTO payledger.settlement_reports"
	" (settlement_report_id, gateway, report_id, status, imported_at, imported_by)"
	" VALUES ($1, $2, $3, 'IMPORTED', $4, $5) ON CONFLICT (gateway, report_id) DO NOTHING",
	5, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery share_report = {
	"SELECT status = 'RECONCILED' FROM payledger.settlement_reports"
	" WHERE gateway = $1 AND report_id = $2 FOR KEY SHARE", 2, {TEXTOID, TEXTOID}
};

static PlQuery lock_report = {
	"SELECT settlement_report_id, status = 'RECONCILED', payout_amount, currency, settled_through"
	" FROM payledger.settlement_reports WHERE gateway = $1 AND report_id = $2 FOR UPDATE", 2, {TEXTOID, TEXTOID}
};

/* two suffice to know whether it is one */
static PlQuery report_currencies = {
	"SELECT min(currency), max(currency) FROM payledger.settlement_lines WHERE gateway = $1 AND report_id = $2",
	2, {TEXTOID, TEXTOID}
};

static PlQuery set_header = {
	"UPDATE payledger.settlement_reports SET payout_amount = $2, currency = $3, settled_through = $4"
	" WHERE settlement_report_id = $1", 4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery select_report = {
	"SELECT settlement_report_id, gateway, report_id, status::text, lines, matched, exceptions, totals"
	" FROM payledger.settlement_reports WHERE settlement_report_id = $1", 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_register_settlement_lines);

/* Raise 22023 or PL011 unless it may name a report. */
void
pl_check_report_id(const char *report_id)
{
	pl_check_text("report_id", report_id, MAX_REPORT_ID_LENGTH);
}

pg_noreturn static void
no_such_gateway(const char *gateway)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_FOUND),
			 errmsg("gateway \"%s\" does not exist", gateway),
			 errhint("payledger.gateways lists them.")));
}

/* Raise PL007 unless there is a gateway of that name. */
void
pl_require_gateway(const char *gateway)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	if (pl_execute_latest(&gateway_exists, &args) == 0)
		no_such_gateway(gateway);
}

/*
 * Make the reconciliations and resolutions of a gateway wait for each other
 * until the end of the transaction: they settle the same open items.  PL007.
 */
void
pl_lock_gateway(const char *gateway)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	if (pl_execute_latest(&lock_gateway, &args) == 0)
		no_such_gateway(gateway);
}

/*
 * Register a report of a gateway that exists.  False: it was registered before.
 * Waits for another session that is registering it.
 */
bool
pl_insert_report(const char *gateway, const char *report_id)
{
	PlArgs		args = {0};
	uint64		inserted;

	pl_history_begin("import_settlement");
	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, gateway);
	pl_arg_text(&args, report_id);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	inserted = pl_execute_latest(&insert_report, &args);
	pl_history_end();
	return inserted > 0;
}

/*
 * Lock a report against lines and other reconciliations.  False: there is none.
 */
bool
pl_lock_report(const char *gateway, const char *report_id, PlReport *report)
{
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_text(&args, gateway);
	pl_arg_text(&args, report_id);
	if (pl_execute_latest(&lock_report, &args) == 0)
		return false;
	report->gateway = gateway;
	report->report_id = report_id;
	report->settlement_report_id = pl_get_int64(0, 1);
	report->is_reconciled = pl_get_bool(0, 2);
	report->has_payout = !pl_isnull(0, 3);
	report->payout_amount = report->has_payout ? pl_get_int64(0, 3) : 0;
	report->currency = pl_get_text(0, 4);
	report->settled_through = DatumGetTimestampTz(pl_get_datum(0, 5, &isnull));
	report->has_cutoff = !isnull;
	return true;
}

/* ---- what the PSP states beside the lines ---- */

/* Arguments argno, payout_amount, and argno + 1, settled_through. */
void
pl_report_header_args(FunctionCallInfo fcinfo, int argno, PlReportHeader *header)
{
	header->has_payout = !PG_ARGISNULL(argno);
	header->payout_amount = header->has_payout ? PG_GETARG_INT64(argno) : 0;
	header->has_cutoff = !PG_ARGISNULL(argno + 1);
	header->settled_through = header->has_cutoff ? PG_GETARG_TIMESTAMPTZ(argno + 1) : 0;
	if (header->has_cutoff && TIMESTAMP_NOT_FINITE(header->settled_through))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("settled_through must be finite")));
}

/* The only currency of the report's lines; 22023 if there are more, or none. */
static const char *
payout_currency(const PlReport *report)
{
	PlArgs		args = {0};

	pl_arg_text(&args, report->gateway);
	pl_arg_text(&args, report->report_id);
	pl_execute_latest(&report_currencies, &args);
	if (pl_isnull(0, 1) || strcmp(pl_get_text(0, 1), pl_get_text(0, 2)) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payout_amount of settlement report \"%s\" has no currency", report->report_id),
				 errdetail("The report has lines %s.", pl_isnull(0, 1) ? "in none" : "in several currencies"),
				 errhint("Give what was paid out as lines of type payout, one for each currency.")));
	return pl_get_text(0, 1);
}

/*
 * Note what the caller states about a report that is locked, where nothing was
 * stated before: PL006 if it contradicts.  What is not stated stays.
 */
void
pl_state_header(PlReport *report, const PlReportHeader *header)
{
	PlArgs		args = {0};
	bool		new_payout = header->has_payout && !(report->has_payout && report->payout_amount == header->payout_amount);
	bool		new_cutoff = header->has_cutoff && !(report->has_cutoff && report->settled_through == header->settled_through);
	const char *contradicted = NULL;

	if (!new_payout && !new_cutoff)
		return;
	if (new_payout && (report->has_payout || report->is_reconciled))
		contradicted = "payout_amount";
	else if (new_cutoff && (report->has_cutoff || report->is_reconciled))
		contradicted = "settled_through";
	if (contradicted != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_IDEMPOTENCY_REUSE),
				 errmsg("settlement report \"%s\" of gateway \"%s\" has another %s",
						report->report_id, report->gateway, contradicted),
				 errhint("A report is imported once; give a corrected one another report_id.")));
	if (new_payout)
	{
		report->has_payout = true;
		report->payout_amount = header->payout_amount;
		report->currency = payout_currency(report);
	}
	if (new_cutoff)
	{
		report->has_cutoff = true;
		report->settled_through = header->settled_through;
	}
	pl_arg_int64(&args, report->settlement_report_id);
	if (report->has_payout)
		pl_arg_int64(&args, report->payout_amount);
	else
		pl_arg_null(&args);
	pl_arg_text(&args, report->currency);
	if (report->has_cutoff)
		pl_arg_timestamp(&args, report->settled_through);
	else
		pl_arg_null(&args);
	pl_execute_latest(&set_header, &args);
}

/* Make the report's row the result of fcinfo. */
void
pl_return_report(FunctionCallInfo fcinfo, int64 settlement_report_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, settlement_report_id);
	pl_execute_latest(&select_report, &args);
	pl_return_rows(fcinfo);
}

/* ---- the trigger of settlement_lines ---- */

/*
 * Register the report if it is new, and hold it against a reconciliation:
 * PL003 if that is over, PL007 for an unknown gateway.
 */
static void
hold_report(const char *gateway, const char *report_id)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	pl_arg_text(&args, report_id);
	if (pl_execute_latest(&share_report, &args) == 0)
	{
		pl_require_gateway(gateway);
		pl_check_report_id(report_id);
		if (pl_insert_report(gateway, report_id))
			return;
		/* registered meanwhile */
		if (pl_execute_latest(&share_report, &args) == 0)
			elog(ERROR, "settlement report \"%s\" vanished", report_id);
	}
	if (pl_get_bool(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
				 errmsg("settlement report \"%s\" of gateway \"%s\" is reconciled", report_id, gateway),
				 errhint("Import further lines under another report_id.")));
}

/* A report that the statement has lines of. */
typedef struct HeldReport
{
	char	   *gateway;
	char	   *report_id;
} HeldReport;

static bool
equals(const char *string, Datum value)
{
	text	   *t = DatumGetTextPP(value);
	size_t		length = VARSIZE_ANY_EXHDR(t);

	return strlen(string) == length && memcmp(string, VARDATA_ANY(t), length) == 0;
}

/* Is it one of those, which becomes the first of the list? */
static bool
is_held(List **held, Datum gateway, Datum report_id)
{
	ListCell   *cell;

	foreach(cell, *held)
	{
		HeldReport *report = lfirst(cell);

		if (!equals(report->report_id, report_id) || !equals(report->gateway, gateway))
			continue;
		if (foreach_current_index(cell) > 0)
			*held = lcons(report, foreach_delete_current(*held, cell));
		return true;
	}
	return false;
}

/* Is it a reference of ours: an id of at most 19 digits behind its mark? */
static bool
is_own_reference(const char *value)
{
	size_t		digits;

	if (strncmp(value, OWN_REFERENCE, strlen(OWN_REFERENCE)) != 0)
		return false;
	value += strlen(OWN_REFERENCE);
	digits = strspn(value, "0123456789");
	return digits > 0 && digits <= MAX_ID_DIGITS && value[digits] == '\0';
}

/*
 * Raise 22023 or PL011 unless the text, of a line or its member, may be stored.
 * Our own references are ids, which may look like card numbers.
 */
void
pl_check_line_text(const char *what, const char *value)
{
	if (!is_own_reference(value))
		pl_check_text(what, value, MAX_LINE_TEXT);
}

static void
check_text_column(TupleTableSlot *slot, int column, const char *what)
{
	char		buffer[MAX_LINE_TEXT * MAX_MULTIBYTE_CHAR_LEN + 1];
	text	   *value;

	if (slot->tts_isnull[column - 1])
		return;
	value = DatumGetTextPP(slot->tts_values[column - 1]);
	if (VARSIZE_ANY_EXHDR(value) >= sizeof(buffer))
		pl_check_line_text(what, text_to_cstring(value));
	text_to_cstring_buffer(value, buffer, sizeof(buffer));
	pl_check_line_text(what, buffer);
}

static void
check_line_currency(Datum value, int32 line_no)
{
	char	   *code = text_to_cstring(DatumGetTextPP(value));

	if (pl_find_currency(code) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("currency \"%s\" of settlement line %d does not exist", code, line_no),
				 errhint("Pass the ISO 4217 code in upper case, for example EUR; payledger.currencies() lists them.")));
}

static void
check_line_amount(const char *what, int64 amount, int32 line_no)
{
	if (amount < -MAX_LINE_AMOUNT || amount > MAX_LINE_AMOUNT)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("%s of settlement line %d is " INT64_FORMAT, what, line_no, amount),
				 errdetail("Amounts of a line are from " INT64_FORMAT " to " INT64_FORMAT " minor units.",
						   -MAX_LINE_AMOUNT, MAX_LINE_AMOUNT)));
}

/* Nothing was settled before the year 2000, which time 0 begins, nor what is still to happen. */
static void
check_line_time(TimestampTz time, int32 line_no, TimestampTz now)
{
	if (time < 0 || time > now + MAX_LINE_AHEAD)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("occurred_at of settlement line %d is %s", line_no, timestamptz_to_str(time)),
				 errhint("It must be from the year 2000 on and not lie ahead; leave it out if the report does not say.")));
}

/*
 * register_settlement_lines(): AFTER INSERT statement trigger of
 * settlement_lines with the transition table, which costs a COPY less than a
 * trigger for each row.  Raises 22003, 22023, PL003, PL007, PL011.
 */
Datum
pl_sql_register_settlement_lines(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Tuplestorestate *rows;
	TupleTableSlot *slot;
	List	   *held = NIL;
	char		currency[4] = "";
	TimestampTz now = pl_transaction_now();

	if (!CALLED_AS_TRIGGER(fcinfo) || TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || trigger->tg_newtable == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("register_settlement_lines must be called as an AFTER INSERT STATEMENT trigger with a transition table")));

	pl_trigger_places(trigger, line_types, lengthof(line_types));
	pl_connect();
	pl_require_layout();
	rows = trigger->tg_newtable;
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	/* other triggers read the same store */
	tuplestore_select_read_pointer(rows, tuplestore_alloc_read_pointer(rows, EXEC_FLAG_REWIND));
	tuplestore_rescan(rows);
	while (tuplestore_gettupleslot(rows, true, false, slot))
	{
		Datum	   *values;

		slot_getsomeattrs(slot, LINE_TIME);
		values = slot->tts_values;
		if (slot->tts_isnull[LINE_GATEWAY - 1] || slot->tts_isnull[LINE_REPORT - 1] ||
			slot->tts_isnull[LINE_NO - 1] || slot->tts_isnull[LINE_CURRENCY - 1] ||
			slot->tts_isnull[LINE_GROSS - 1] || slot->tts_isnull[LINE_FEE - 1] || slot->tts_isnull[LINE_NET - 1])
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("gateway, report_id, line_no, currency, gross, fee and net of a settlement line must not be null")));
		check_text_column(slot, LINE_PAYMENT, "psp_reference of a settlement line");
		check_text_column(slot, LINE_REFERENCE, "reference of a settlement line");
		if (!equals(currency, values[LINE_CURRENCY - 1]))
		{
			check_line_currency(values[LINE_CURRENCY - 1], DatumGetInt32(values[LINE_NO - 1]));
			text_to_cstring_buffer(DatumGetTextPP(values[LINE_CURRENCY - 1]), currency, sizeof(currency));
		}
		check_line_amount("gross", DatumGetInt64(values[LINE_GROSS - 1]), DatumGetInt32(values[LINE_NO - 1]));
		check_line_amount("fee", DatumGetInt64(values[LINE_FEE - 1]), DatumGetInt32(values[LINE_NO - 1]));
		check_line_amount("net", DatumGetInt64(values[LINE_NET - 1]), DatumGetInt32(values[LINE_NO - 1]));
		if (!slot->tts_isnull[LINE_TIME - 1])
			check_line_time(DatumGetTimestampTz(values[LINE_TIME - 1]), DatumGetInt32(values[LINE_NO - 1]), now);
		if (!is_held(&held, values[LINE_GATEWAY - 1], values[LINE_REPORT - 1]))
		{
			HeldReport *report = palloc(sizeof(HeldReport));

			report->gateway = text_to_cstring(DatumGetTextPP(values[LINE_GATEWAY - 1]));
			report->report_id = text_to_cstring(DatumGetTextPP(values[LINE_REPORT - 1]));
			hold_report(report->gateway, report->report_id);
			held = lcons(report, held);
		}
		CHECK_FOR_INTERRUPTS();
	}
	tuplestore_select_read_pointer(rows, 0);
	ExecDropSingleTupleTableSlot(slot);
	pl_finish();
	return PointerGetDatum(NULL);
}
