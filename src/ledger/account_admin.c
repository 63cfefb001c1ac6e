/*
 * src/ledger/account_admin.c
 *		What an operator does to an account: opening it with limits, changing
 *		its limits, status and metadata.
 *
 * Posts take no lock on accounts, so a limit where there was none, or a status
 * that refuses posts, has to wait for the posts under way: see
 * pl_wait_for_posts().  A limit that exists is kept under the account's row
 * lock, which every post takes that approaches it; to change it that lock is
 * enough.
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* The columns that every function of this file returns. */
#define ACCOUNT_ROW \
	"account_id, account_code, account_type, entity_id, currency, ledger, status::text," \
	" floor, ceiling, held, metadata"

static PlQuery select_by_code = {
	"SELECT " ACCOUNT_ROW " FROM payledger.accounts WHERE account_code = $1", 1, {TEXTOID}
};

static PlQuery select_by_id = {
	"SELECT " ACCOUNT_ROW " FROM payledger.accounts WHERE account_id = $1", 1, {INT8OID}
};

static PlQuery insert_account = {
	"INSERT INTO payledger.accounts"
	" (account_id, account_code, account_type, entity_id, currency, ledger, floor, ceiling, metadata)"
	" SELECT $1, $2, t.account_type, $4, $5, l.ledger, $7, $8, $9"
	" FROM payledger.account_types t, payledger.ledgers l"
	" WHERE t.account_type = $3 AND l.ledger = $6"
	" ON CONFLICT (account_code) DO NOTHING"
	" RETURNING " ACCOUNT_ROW,
	9, {INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, INT8OID, JSONBOID}
};

static PlQuery type_exists = {
	"SELECT FROM payledger.account_types WHERE account_type = $1", 1, {TEXTOID}
};

static PlQuery update_limits = {
	"UPDATE payledger.accounts SET floor = $2, ceiling = $3 WHERE account_id = $1"
	" RETURNING " ACCOUNT_ROW, 3, {INT8OID, INT8OID, INT8OID}
};

static PlQuery update_status = {
	"UPDATE payledger.accounts SET status = $2::payledger.account_status WHERE account_id = $1"
	" RETURNING " ACCOUNT_ROW, 2, {INT8OID, TEXTOID}
};

static PlQuery update_metadata = {
	"UPDATE payledger.accounts SET metadata = $2 WHERE account_id = $1"
	" RETURNING " ACCOUNT_ROW, 2, {INT8OID, JSONBOID}
};

static const char *const account_states[] = {"ACTIVE", "SUSPENDED", "CLOSED"};

static const PlEdge account_edges[] = {
	{NULL, "ACTIVE"},
	{"ACTIVE", "SUSPENDED"},
	{"ACTIVE", "CLOSED"},
	{"SUSPENDED", "ACTIVE"},
	{"SUSPENDED", "CLOSED"},
	{"CLOSED", "ACTIVE"},
};

const PlMachine pl_account_machine = {
	"account", account_states, lengthof(account_states), account_edges, lengthof(account_edges)
};

/* The limits asked for, minor units on the account's normal side. */
typedef struct WantedLimits
{
	bool		has_floor;
	int64		floor;
	bool		has_ceiling;
	int64		ceiling;
} WantedLimits;

PG_FUNCTION_INFO_V1(pl_sql_open_account);
PG_FUNCTION_INFO_V1(pl_sql_set_account_limits);
PG_FUNCTION_INFO_V1(pl_sql_set_account_status);
PG_FUNCTION_INFO_V1(pl_sql_set_account_metadata);

/* ---- posts under way ---- */

/*
 * Wait until every other transaction that posts is over, and let no other post
 * begin until this transaction is.  What is changed next, no post under way has
 * missed: posts lock payledger.journal_entries ROW EXCLUSIVE before they read
 * the accounts' limits and states and the closed periods, under a snapshot
 * taken after that.
 *
 * First waits for those that are posting now, while new ones go on, and only
 * then queues for the lock, ahead of later posts: what is left to wait for is
 * young.  The lock is SHARE ROW EXCLUSIVE, which conflicts with itself: under
 * SHARE two operators who go on to post would wait for each other.
 *
 * Locks: journal_entries SHARE ROW EXCLUSIVE until the end of the transaction.
 * Call it before locking any row that a post locks.  Waits for prepared
 * transactions and VACUUM of the table as well; lock_timeout and
 * statement_timeout hold.  Two transactions that have both posted and both call
 * it deadlock: one of them gets 40P01.
 */
void
pl_wait_for_posts(void)
{
	Oid			journal = get_relname_relid("journal_entries", get_namespace_oid("payledger", false));
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, journal);
	WaitForLockers(tag, ShareRowExclusiveLock, false);
	LockRelationOid(journal, ShareRowExclusiveLock);
}

/* ---- limits asked for ---- */

/* Arguments argno, the floor, and argno + 1, the ceiling. */
static WantedLimits
limits_args(FunctionCallInfo fcinfo, int argno)
{
	WantedLimits wanted = {0};

	wanted.has_floor = !PG_ARGISNULL(argno);
	if (wanted.has_floor)
		wanted.floor = PG_GETARG_INT64(argno);
	wanted.has_ceiling = !PG_ARGISNULL(argno + 1);
	if (wanted.has_ceiling)
		wanted.ceiling = PG_GETARG_INT64(argno + 1);
	if (wanted.has_floor && wanted.has_ceiling && wanted.floor > wanted.ceiling)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("floor " INT64_FORMAT " is above ceiling " INT64_FORMAT,
						wanted.floor, wanted.ceiling)));
	return wanted;
}

static void
arg_limits(PlArgs *args, const WantedLimits *wanted)
{
	if (wanted->has_floor)
		pl_arg_int64(args, wanted->floor);
	else
		pl_arg_null(args);
	if (wanted->has_ceiling)
		pl_arg_int64(args, wanted->ceiling);
	else
		pl_arg_null(args);
}

/* Is there to be a limit where present has none?  NULL: it has neither. */
static bool
adds_limit(const PlLimits *present, const WantedLimits *wanted)
{
	return (wanted->has_floor && !(present && present->has_floor)) ||
		(wanted->has_ceiling && !(present && present->has_ceiling));
}

/*
 * Raise PL004 if the account, which is locked, is beyond a limit that is new or
 * tighter.  One that is loosened or left may be broken already.
 */
static void
check_balance_within(const PlAccount *account, PlLimits *present, const WantedLimits *wanted)
{
	bool		checks_floor = wanted->has_floor &&
		(!present->has_floor || wanted->floor > present->floor);
	bool		checks_ceiling = wanted->has_ceiling &&
		(!present->has_ceiling || wanted->ceiling < present->ceiling);
	bool		below;

	if (!checks_floor && !checks_ceiling)
		return;
	pl_limits_balances(present, 1);
	/* balance - held < floor, without an overflow: held is not negative */
	below = checks_floor &&
		(present->balance < wanted->floor ||
		 (uint64) present->balance - (uint64) wanted->floor < (uint64) present->held);
	if (!below && !(checks_ceiling && present->balance > wanted->ceiling))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PL_BALANCE_LIMIT),
			 errmsg("account %s is already %s", account->code, below ? "below that floor" : "above that ceiling"),
			 errdetail("Its balance is %s, held %s, the %s %s %s.",
					   pl_format_amount(present->balance, account->currency),
					   pl_format_amount(present->held, account->currency),
					   below ? "floor" : "ceiling",
					   pl_format_amount(below ? wanted->floor : wanted->ceiling, account->currency),
					   account->currency->code),
			 errhint("Post what brings the balance within the limit first.")));
}

/* ---- opening ---- */

/*
 * Raise 22023 unless the account of the last result, which exists already, is
 * as it is asked for.
 */
static void
check_existing(const char *code, const char *ledger, const WantedLimits *wanted)
{
	if (strcmp(pl_get_text(0, 6), ledger) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account %s is in ledger %s", code, pl_get_text(0, 6)),
				 errhint("An account never changes its ledger: choose another entity.")));
	if ((wanted->has_floor && (pl_isnull(0, 8) || pl_get_int64(0, 8) != wanted->floor)) ||
		(wanted->has_ceiling && (pl_isnull(0, 9) || pl_get_int64(0, 9) != wanted->ceiling)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account %s is open with other limits", code),
				 errdetail("Its floor is %s, its ceiling %s.",
						   pl_isnull(0, 8) ? "none" : pl_get_text(0, 8),
						   pl_isnull(0, 9) ? "none" : pl_get_text(0, 9)),
				 errhint("Change them with payledger.set_account_limits().")));
}

/* Raise PL007: the account could not be inserted. */
pg_noreturn static void
refuse_unknown(const char *account_type, const char *ledger)
{
	PlArgs		args = {0};

	pl_arg_text(&args, account_type);
	if (pl_execute_latest(&type_exists, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account type \"%s\" does not exist", account_type),
				 errhint("payledger.account_types lists the types, payledger.add_account_type() adds one.")));
	pl_no_such_ledger(ledger);
}

static uint64
find_by_code(const char *code)
{
	PlArgs		args = {0};

	pl_arg_text(&args, code);
	return pl_execute_latest(&select_by_code, &args);
}

/*
 * Find or open an account; leaves its ACCOUNT_ROW as the last result.
 */
static void
open_account(const char *account_type, const char *entity_id, const char *currency,
			 const char *ledger, const WantedLimits *wanted, Jsonb *metadata)
{
	char	   *code = pl_account_code(account_type, entity_id, currency);
	PlArgs		args = {0};

	/* a dot within type or currency would make another account of it */
	pl_check_account_code(code);
	if (strchr(account_type, '.') != NULL || strchr(currency, '.') != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account code \"%s\" is malformed", code),
				 errdetail("Only the entity may hold dots.")));
	if (find_by_code(code) > 0)
	{
		check_existing(code, ledger, wanted);
		return;
	}

	if ((wanted->has_floor && wanted->floor > 0) || (wanted->has_ceiling && wanted->ceiling < 0))
		ereport(ERROR,
				(errcode(ERRCODE_PL_BALANCE_LIMIT),
				 errmsg("account %s cannot be opened with these limits", code),
				 errdetail("It begins with a balance of zero, which they exclude.")));
	pl_arg_int64(&args, pl_next_id());
	pl_arg_text(&args, code);
	pl_arg_text(&args, account_type);
	pl_arg_text(&args, entity_id);
	pl_arg_text(&args, currency);
	pl_arg_text(&args, ledger);
	arg_limits(&args, wanted);
	if (metadata != NULL)
		pl_arg(&args, JsonbPGetDatum(metadata));
	else
		pl_arg_null(&args);
	if (pl_execute_latest(&insert_account, &args) > 0)
		return;

	/* another session was first, unless there is no such type or ledger */
	if (find_by_code(code) == 0)
		refuse_unknown(account_type, ledger);
	check_existing(code, ledger, wanted);
}

/*
 * The account of that type, entity and currency, opened in the ledger if it
 * does not exist: PL007 for an unknown type or ledger, 22023 if it is in
 * another ledger.  Waits for another session that is opening it.  Needs an open
 * SPI connection.
 */
const PlAccount *
pl_open_account(const char *account_type, const char *entity_id, const char *currency,
				const char *ledger)
{
	const char *code = pl_account_code(account_type, entity_id, currency);
	const PlAccount *known = pl_known_account(code);
	WantedLimits none = {0};

	if (known != NULL && strcmp(known->ledger, ledger) == 0)
		return known;
	open_account(account_type, entity_id, currency, ledger, &none, NULL);
	return pl_require_account(code);
}

/*
 * open_account(account_type text, entity_id text, currency text, ledger text,
 *		floor bigint, ceiling bigint, metadata jsonb)
 */
Datum
pl_sql_open_account(PG_FUNCTION_ARGS)
{
	char	   *account_type = pl_text_arg(fcinfo, 0, "account_type");
	char	   *entity_id = pl_text_arg(fcinfo, 1, "entity_id");
	char	   *currency = pl_text_arg(fcinfo, 2, "currency");
	char	   *ledger = pl_text_arg(fcinfo, 3, "ledger");
	WantedLimits wanted = limits_args(fcinfo, 4);
	Jsonb	   *metadata = PG_ARGISNULL(6) ? NULL : PG_GETARG_JSONB_P(6);

	pl_connect();
	pl_require_layout();
	if (metadata != NULL)
		pl_check_metadata("metadata", metadata);
	open_account(account_type, entity_id, currency, ledger, &wanted, metadata);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/* ---- changing ---- */

static void
return_account(FunctionCallInfo fcinfo, int64 account_id)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, account_id);
	pl_execute_latest(&select_by_id, &args);
	pl_return_rows(fcinfo);
}

/*
 * set_account_limits(account_code text, floor bigint, ceiling bigint): null is
 * no limit.  PL004 if the balance less what is held is beyond a new or tighter
 * limit.  Locks the account's row; waits for posts if there was no such limit.
 */
Datum
pl_sql_set_account_limits(PG_FUNCTION_ARGS)
{
	char	   *code = pl_text_arg(fcinfo, 0, "account_code");
	WantedLimits wanted = limits_args(fcinfo, 1);
	const PlAccount *account;
	PlRestrictions *restrictions;
	PlLimits   *present;
	bool		has_waited;
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	account = pl_require_account(code);
	restrictions = pl_restrictions(&account->account_id, 1);
	has_waited = adds_limit(pl_limits_find(restrictions->accounts, restrictions->naccounts, account->account_id), &wanted);
	if (has_waited)
		pl_wait_for_posts();
	present = pl_limits_lock(&account->account_id, 1);
	if (!has_waited && adds_limit(present, &wanted))
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("the limits of account %s were changed by another transaction", account->code),
				 errhint("Run the transaction again.")));
	check_balance_within(account, present, &wanted);

	pl_arg_int64(&args, account->account_id);
	arg_limits(&args, &wanted);
	pl_execute_latest(&update_limits, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/* Raise PL004 unless nothing is left on the account, which is locked. */
static void
check_empty(const PlAccount *account, PlLimits *present)
{
	pl_limits_balances(present, 1);
	if (present->balance == 0 && present->held == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_PL_BALANCE_LIMIT),
			 errmsg("account %s is not empty", account->code),
			 errdetail("Its balance is %s, held %s %s.",
					   pl_format_amount(present->balance, account->currency),
					   pl_format_amount(present->held, account->currency),
					   account->currency->code),
			 errhint("Post its balance to another account and release its holds, then close it.")));
}

/*
 * set_account_status(account_code text, status text): PL001 for an edge that
 * pl_account_machine does not have, PL004 if an account to be CLOSED is not
 * empty.  Locks the account's row; waits for posts unless the account becomes
 * ACTIVE.
 */
Datum
pl_sql_set_account_status(PG_FUNCTION_ARGS)
{
	char	   *code = pl_text_arg(fcinfo, 0, "account_code");
	char	   *status = pl_text_arg(fcinfo, 1, "status");
	const PlAccount *account;
	PlLimits   *present;

	if (strcmp(status, "ACTIVE") != 0 && strcmp(status, "SUSPENDED") != 0 && strcmp(status, "CLOSED") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("account status \"%s\" does not exist", status),
				 errhint("It is ACTIVE, SUSPENDED or CLOSED.")));
	pl_connect();
	pl_require_layout();
	account = pl_require_account(code);
	if (strcmp(status, "ACTIVE") != 0)
		pl_wait_for_posts();
	present = pl_limits_lock(&account->account_id, 1);
	if (strcmp(present->status, status) != 0)
	{
		PlArgs		args = {0};

		if (!pl_edge_exists(&pl_account_machine, present->status, status))
			pl_illegal_transition(pl_account_machine.name, account->account_id, present->status, status);
		if (strcmp(status, "CLOSED") == 0)
			check_empty(account, present);
		pl_arg_int64(&args, account->account_id);
		pl_arg_text(&args, status);
		pl_execute_latest(&update_status, &args);
	}
	return_account(fcinfo, account->account_id);
	pl_finish();
	return (Datum) 0;
}

/*
 * set_account_metadata(account_code text, metadata jsonb): replaces it; null
 * takes it away.  Locks the account's row.
 */
Datum
pl_sql_set_account_metadata(PG_FUNCTION_ARGS)
{
	char	   *code = pl_text_arg(fcinfo, 0, "account_code");
	Jsonb	   *metadata = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	if (metadata != NULL)
		pl_check_metadata("metadata", metadata);
	pl_arg_int64(&args, pl_require_account(code)->account_id);
	if (metadata != NULL)
		pl_arg(&args, JsonbPGetDatum(metadata));
	else
		pl_arg_null(&args);
	pl_execute_latest(&update_metadata, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
