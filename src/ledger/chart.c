/*
 * src/ledger/chart.c
 *		The chart of account types, and the ledgers.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

#define MAX_NAME_LENGTH 63
#define MAX_DESCRIPTION_LENGTH 255

#define TYPE_ROW "account_type, category::text, normal_side::text, description"
#define LEDGER_ROW "ledger, description, time_zone, closed_before"

/* No row if the type exists and is another one. */
static PlQuery insert_type = {
	"INSERT INTO payledger.account_types AS t (account_type, category, normal_side, description)"
	" VALUES ($1, $2::payledger.account_category, $3::payledger.normal_side, $4)"
	" ON CONFLICT (account_type) DO UPDATE SET description = EXCLUDED.description"
	"  WHERE t.category = EXCLUDED.category AND t.normal_side = EXCLUDED.normal_side"
	" RETURNING " TYPE_ROW, 4, {TEXTOID, TEXTOID, TEXTOID, TEXTOID}
};

static PlQuery select_type = {
	"SELECT " TYPE_ROW " FROM payledger.account_types WHERE account_type = $1", 1, {TEXTOID}
};

/* No row if the ledger exists with another time zone. */
static PlQuery insert_ledger = {
	"INSERT INTO payledger.ledgers AS l (ledger, description, time_zone) VALUES ($1, $2, $3)"
	" ON CONFLICT (ledger) DO UPDATE SET description = EXCLUDED.description"
	"  WHERE l.time_zone = EXCLUDED.time_zone"
	" RETURNING " LEDGER_ROW, 3, {TEXTOID, TEXTOID, TEXTOID}
};

static PlQuery select_ledger = {
	"SELECT " LEDGER_ROW " FROM payledger.ledgers WHERE ledger = $1", 1, {TEXTOID}
};

/* closed_before is looked at anew if a month is being closed meanwhile */
static PlQuery update_time_zone = {
	"UPDATE payledger.ledgers SET time_zone = $2 WHERE ledger = $1 AND closed_before IS NULL"
	" RETURNING " LEDGER_ROW, 2, {TEXTOID, TEXTOID}
};

/* AT TIME ZONE takes POSIX rules as well, in which UTC+1 is west of UTC */
static PlQuery time_zone_exists = {
	"SELECT FROM pg_catalog.pg_timezone_names WHERE name = $1", 1, {TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_add_account_type);
PG_FUNCTION_INFO_V1(pl_sql_add_ledger);
PG_FUNCTION_INFO_V1(pl_sql_set_ledger_time_zone);

static void
check_name(const char *what, const char *name)
{
	if (name[0] < 'A' || name[0] > 'Z' ||
		strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") != strlen(name) ||
		strlen(name) > MAX_NAME_LENGTH)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is malformed", what, name),
				 errhint("Use up to %d upper case letters, digits and underscores, beginning with a letter.",
						 MAX_NAME_LENGTH)));
}

static void
check_label(const char *what, const char *label, const char *const *labels, int n, const char *hint)
{
	for (int i = 0; i < n; i++)
		if (strcmp(labels[i], label) == 0)
			return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" does not exist", what, label),
			 errhint("%s", hint)));
}

/*
 * add_account_type(account_type text, category text, normal_side text,
 *		description text)
 */
Datum
pl_sql_add_account_type(PG_FUNCTION_ARGS)
{
	static const char *const categories[] = {"ASSET", "LIABILITY", "EQUITY", "REVENUE", "EXPENSE"};
	static const char *const sides[] = {"DEBIT", "CREDIT"};
	char	   *account_type = pl_text_arg(fcinfo, 0, "account_type");
	char	   *category = pl_text_arg(fcinfo, 1, "category");
	char	   *normal_side = pl_text_arg(fcinfo, 2, "normal_side");
	char	   *description = pl_text_arg(fcinfo, 3, "description");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_name("account_type", account_type);
	check_label("category", category, categories, lengthof(categories),
				"It is ASSET, LIABILITY, EQUITY, REVENUE or EXPENSE.");
	check_label("normal_side", normal_side, sides, lengthof(sides), "It is DEBIT or CREDIT.");
	pl_check_text("description", description, MAX_DESCRIPTION_LENGTH);

	pl_arg_text(&args, account_type);
	pl_arg_text(&args, category);
	pl_arg_text(&args, normal_side);
	pl_arg_text(&args, description);
	if (pl_execute_latest(&insert_type, &args) == 0)
	{
		PlArgs		key = {0};

		pl_arg_text(&key, account_type);
		pl_execute_latest(&select_type, &key);
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("account type %s exists with another category or side", account_type),
				 errdetail("It is %s, normal side %s.", pl_get_text(0, 2), pl_get_text(0, 3)),
				 errhint("Both are for good, because backends remember them: add another type.")));
	}
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * Raise PL007 for a ledger that was looked for in vain.
 */
void
pl_no_such_ledger(const char *ledger)
{
	ereport(ERROR,
			(errcode(ERRCODE_PL_NOT_FOUND),
			 errmsg("ledger \"%s\" does not exist", ledger),
			 errhint("payledger.ledgers lists them, payledger.add_ledger() adds one.")));
}

static void
check_time_zone(const char *time_zone)
{
	PlArgs		args = {0};

	pl_arg_text(&args, time_zone);
	if (pl_execute(&time_zone_exists, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("time zone \"%s\" does not exist", time_zone),
				 errhint("pg_timezone_names lists them, for example Europe/Berlin.")));
}

/*
 * add_ledger(ledger text, description text, time_zone text)
 */
Datum
pl_sql_add_ledger(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	char	   *description = pl_text_arg(fcinfo, 1, "description");
	char	   *time_zone = pl_text_arg(fcinfo, 2, "time_zone");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_name("ledger", ledger);
	if (strcmp(ledger, PL_GLOBAL_ENTITY) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ledger \"%s\" is not allowed", ledger),
				 errdetail("It is the entity of the platform's own accounts.")));
	pl_check_text("description", description, MAX_DESCRIPTION_LENGTH);
	check_time_zone(time_zone);

	pl_arg_text(&args, ledger);
	pl_arg_text(&args, description);
	pl_arg_text(&args, time_zone);
	if (pl_execute_latest(&insert_ledger, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("ledger %s exists with another time zone", ledger),
				 errhint("Change it with payledger.set_ledger_time_zone().")));
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * set_ledger_time_zone(ledger text, time_zone text)
 */
Datum
pl_sql_set_ledger_time_zone(PG_FUNCTION_ARGS)
{
	char	   *ledger = pl_text_arg(fcinfo, 0, "ledger");
	char	   *time_zone = pl_text_arg(fcinfo, 1, "time_zone");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_time_zone(time_zone);
	pl_arg_text(&args, ledger);
	pl_arg_text(&args, time_zone);
	if (pl_execute_latest(&update_time_zone, &args) == 0)
	{
		PlArgs		key = {0};

		pl_arg_text(&key, ledger);
		if (pl_execute_latest(&select_ledger, &key) == 0)
			pl_no_such_ledger(ledger);
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("ledger %s has closed months", ledger),
				 errdetail("It is closed before %s.", pl_get_text(0, 4)),
				 errhint("Reopen them with payledger.reopen_period(), the newest first.")));
	}
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
