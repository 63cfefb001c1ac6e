/*
 * src/ledger/hold_commits.c
 *		The end of a hold: committed by an entry, in whole or part, or released.
 *
 * The entry of a commit names the hold in its metadata: a commit asked for
 * again with the same reference is told from another one by its content.
 *
 * Accounts are locked before the hold, and all those that posting the entry
 * locks together with the hold's own.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/fmgrprotos.h"

/* the member of an entry's metadata that names the hold it commits */
#define HOLD_KEY "hold_id"

/* A hold, locked; its account is locked too. */
typedef struct Hold
{
	int64		hold_id;
	const PlAccount *account;
	int64		amount;
	int64		committed;
	const char *status;
	bool		expires;
	TimestampTz expires_at;
} Hold;

static PlQuery select_account = {
	"SELECT account_id FROM payledger.holds WHERE hold_id = $1", 1, {INT8OID}
};

static PlQuery lock_hold = {
	"SELECT amount, committed_amount, status::text, expires_at FROM payledger.holds"
	" WHERE hold_id = $1 FOR NO KEY UPDATE", 1, {INT8OID}
};

static PlQuery update_hold = {
	"UPDATE payledger.holds SET committed_amount = $2, status = $3::payledger.hold_status, updated_at = $4"
	" WHERE hold_id = $1", 4, {INT8OID, INT8OID, TEXTOID, TIMESTAMPTZOID}
};

static PlQuery reference_exists = {
	"SELECT FROM payledger.journal_entries WHERE reference = $1", 1, {TEXTOID}
};

#define SELECT_HOLD(columns) \
	"SELECT h.hold_id, a.account_code, h.amount, h.committed_amount, h.status::text" columns \
	" FROM payledger.holds h JOIN payledger.accounts a ON a.account_id = h.account_id" \
	" WHERE h.hold_id = $1"

static PlQuery select_committed = {
	SELECT_HOLD(", $2, $3, $4, $5"), 5, {INT8OID, INT8OID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID}
};

static PlQuery select_released = {
	SELECT_HOLD(""), 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_commit_hold);
PG_FUNCTION_INFO_V1(pl_sql_release_hold);

/* The account of a hold, which never changes; PL007 if there is no such hold. */
static const PlAccount *
account_of(int64 hold_id)
{
	int64		account_id;
	PlArgs		args = {0};

	pl_arg_int64(&args, hold_id);
	if (pl_execute(&select_account, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("hold " INT64_FORMAT " does not exist", hold_id)));
	account_id = pl_get_int64(0, 1);
	pl_load_accounts(&account_id, 1);
	return pl_known_account_by_id(account_id);
}

/* Lock the hold of a locked account; PL001 unless it may go to that state. */
static void
lock_active_hold(Hold *hold, const char *to)
{
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_int64(&args, hold->hold_id);
	if (pl_execute(&lock_hold, &args) != 1)
		elog(ERROR, "hold " INT64_FORMAT " is gone", hold->hold_id);
	hold->amount = pl_get_int64(0, 1);
	hold->committed = pl_get_int64(0, 2);
	hold->status = pl_get_text(0, 3);
	hold->expires_at = DatumGetTimestampTz(pl_get_datum(0, 4, &isnull));
	hold->expires = !isnull;
	if (strcmp(hold->status, "ACTIVE") != 0)
		pl_illegal_transition("hold", hold->hold_id, hold->status, to);
}

static void
write_hold(const Hold *hold)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, hold->hold_id);
	pl_arg_int64(&args, hold->committed);
	pl_arg_text(&args, hold->status);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&update_hold, &args);
}

/* The metadata of an entry that commits the hold. */
static Jsonb *
name_hold(Jsonb *metadata, int64 hold_id)
{
	Datum		name = DirectFunctionCall1(jsonb_in,
										   CStringGetDatum(psprintf("{\"" HOLD_KEY "\": \"" INT64_FORMAT "\"}", hold_id)));

	if (metadata == NULL)
		return DatumGetJsonbP(name);
	pl_check_metadata("metadata", metadata);
	if (getKeyJsonValueFromContainer(&metadata->root, HOLD_KEY, strlen(HOLD_KEY), NULL) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("metadata of a commit must not have a member \"%s\"", HOLD_KEY),
				 errdetail("It is given the hold that is committed.")));
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(metadata), name));
}

static void
require_arg(FunctionCallInfo fcinfo, int argno, const char *name)
{
	if (PG_ARGISNULL(argno))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

static void
date_entry(PlEntry *entry, TimestampTz effective_at)
{
	if (TIMESTAMP_NOT_FINITE(effective_at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("effective_at must be finite")));
	entry->effective_at = effective_at;
	entry->is_dated = true;
}

/* What the entry changes on the account, in minor units on its normal side. */
static int64
change_on(const PlEntryBatch *batch, int64 account_id)
{
	int64		change = 0;

	for (int i = 0; i < batch->nlegs; i++)
		if (batch->legs[i].account->account_id == account_id)
			change = pl_add_amount(change, batch->legs[i].amount * batch->legs[i].account->sign);
	return change;
}

/* Find the accounts of the legs; PL007 for one that does not exist. */
static void
find_accounts(PlEntryBatch *batch)
{
	const char **codes = palloc(sizeof(char *) * Max(batch->nlegs, 1));

	for (int i = 0; i < batch->nlegs; i++)
		codes[i] = batch->legs[i].account_code;
	pl_find_accounts(codes, batch->nlegs);
	for (int i = 0; i < batch->nlegs; i++)
		batch->legs[i].account = pl_require_account(codes[i]);
	pfree(codes);
}

/*
 * Lock the account of the hold together with those that posting the entry
 * would lock later, so that all are taken in one order.
 */
static void
lock_accounts(const PlEntryBatch *batch, const PlAccount *held)
{
	int64	   *ids = palloc(sizeof(int64) * (batch->nlegs + 1));
	PlRestrictions *restrictions;
	int			n = 0;

	for (int i = 0; i < batch->nlegs; i++)
		ids[i] = batch->legs[i].account->account_id;
	restrictions = pl_restrictions(ids, batch->nlegs);

	ids[n++] = held->account_id;
	for (int i = 0; i < restrictions->naccounts; i++)
	{
		const PlLimits *limits = &restrictions->accounts[i];
		int64		change = change_on(batch, limits->account_id);

		if (limits->account_id != held->account_id &&
			((change < 0 && limits->has_floor) || (change > 0 && limits->has_ceiling)))
			ids[n++] = limits->account_id;
	}
	(void) pl_limits_lock(ids, n);
}

static bool
is_posted(const char *reference)
{
	PlArgs		args = {0};

	if (reference == NULL)
		return false;
	pl_arg_text(&args, reference);
	return pl_execute_latest(&reference_exists, &args) > 0;
}

/*
 * Take what the entry takes from the account out of the hold, and free the
 * rest unless it is kept.  The funds are freed before the entry is posted, or
 * they would count twice against the floor.
 */
static void
commit_active_hold(Hold *hold, PlEntryBatch *batch, bool keeps_rest)
{
	int64		change = change_on(batch, hold->account->account_id);
	int64		left;

	lock_active_hold(hold, "COMMITTED");
	/* overdue, though the keeper has not come by yet */
	if (hold->expires && hold->expires_at <= pl_due_now())
		pl_illegal_transition("hold", hold->hold_id, "EXPIRED", "COMMITTED");

	left = hold->amount - hold->committed;
	if (change >= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the entry takes nothing from account %s of hold " INT64_FORMAT,
						hold->account->code, hold->hold_id),
				 errhint("The postings must %s the account.", hold->account->sign > 0 ? "credit" : "debit")));
	if (change < -left)
		ereport(ERROR,
				(errcode(ERRCODE_PL_AMOUNT_EXCEEDED),
				 errmsg("the entry takes more from account %s than is left of hold " INT64_FORMAT,
						hold->account->code, hold->hold_id),
				 errdetail("The change is %s %s; %s of %s are left.",
						   pl_format_amount(change, hold->account->currency), hold->account->currency->code,
						   pl_format_amount(left, hold->account->currency),
						   pl_format_amount(hold->amount, hold->account->currency))));

	pl_history_begin("commit_hold");
	hold->committed -= change;
	if (keeps_rest && hold->committed < hold->amount)
		pl_change_held(hold->account, change);
	else
	{
		hold->status = "COMMITTED";
		pl_change_held(hold->account, -left);
	}
	write_hold(hold);
	pl_entries_post(batch);
	if (batch->entries[0]->verdict != PL_VERDICT_POSTED)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("reference \"%s\" was used by a concurrent transaction", batch->entries[0]->reference),
				 errhint("Run the transaction again.")));
	pl_history_end();
}

/*
 * commit_hold(hold_id bigint, entry_type text, postings jsonb, reference text,
 *		effective_at timestamptz, metadata jsonb, keep_rest boolean)
 *
 * Under the lock of the account no other commit of the hold is under way, so
 * its reference is there or is not.
 */
Datum
pl_sql_commit_hold(PG_FUNCTION_ARGS)
{
	Hold		hold = {0};
	char	   *entry_type = pl_text_arg(fcinfo, 1, "entry_type");
	char	   *reference = pl_optional_text_arg(fcinfo, 3);
	Jsonb	   *metadata = PG_ARGISNULL(5) ? NULL : PG_GETARG_JSONB_P(5);
	PlEntryBatch *batch;
	PlEntry    *entry;
	PlArgs		args = {0};

	hold.hold_id = pl_int64_arg(fcinfo, 0, "hold_id");
	require_arg(fcinfo, 2, "postings");
	require_arg(fcinfo, 6, "keep_rest");

	pl_connect();
	pl_require_layout();
	hold.account = account_of(hold.hold_id);
	batch = pl_entries_new();
	batch->replays = true;
	entry = pl_entry_add(batch, entry_type, 0, reference, 0);
	entry->metadata = name_hold(metadata, hold.hold_id);
	if (!PG_ARGISNULL(4))
		date_entry(entry, PG_GETARG_TIMESTAMPTZ(4));
	pl_entry_legs_from_json(batch, PG_GETARG_JSONB_P(2));
	find_accounts(batch);

	(void) pl_lock_journal();
	lock_accounts(batch, hold.account);
	if (is_posted(reference))
		pl_entries_post(batch);
	else
		commit_active_hold(&hold, batch, PG_GETARG_BOOL(6));

	pl_arg_int64(&args, hold.hold_id);
	pl_arg_int64(&args, entry->journal_entry_id);
	pl_arg_timestamp(&args, entry->recorded_at);
	pl_arg_timestamp(&args, entry->effective_at);
	pl_arg_bool(&args, entry->verdict == PL_VERDICT_REPLAYED);
	pl_execute(&select_committed, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * release_hold(hold_id bigint): an overdue hold may be released still, and so
 * may one of an account that is not active.
 */
Datum
pl_sql_release_hold(PG_FUNCTION_ARGS)
{
	Hold		hold = {0};
	PlArgs		args = {0};

	hold.hold_id = pl_int64_arg(fcinfo, 0, "hold_id");
	pl_connect();
	pl_require_layout();
	hold.account = account_of(hold.hold_id);
	(void) pl_lock_journal();
	(void) pl_limits_lock(&hold.account->account_id, 1);
	lock_active_hold(&hold, "RELEASED");

	pl_history_begin("release_hold");
	hold.status = "RELEASED";
	write_hold(&hold);
	pl_change_held(hold.account, hold.committed - hold.amount);
	pl_history_end();

	pl_arg_int64(&args, hold.hold_id);
	pl_execute(&select_released, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
