/*
 * src/core/query.c
 *		SQL from C: statements with kept plans, their arguments and results.
 *
 * A plan lives as long as the backend and revalidates itself after DDL; no
 * OIDs of our objects are kept.  Arguments and results live in the SPI
 * procedure's memory context.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "jit/jit.h"
#include "optimizer/cost.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

static void
add_arg(PlArgs *args, Datum value, char null)
{
	if (args->n >= PL_MAX_QUERY_ARGS)
		elog(ERROR, "a statement has more than %d arguments", PL_MAX_QUERY_ARGS);
	args->values[args->n] = value;
	args->nulls[args->n++] = null;
}

/*
 * Add the next argument.  The Datum must stay valid until the execution.
 */
void
pl_arg(PlArgs *args, Datum value)
{
	add_arg(args, value, ' ');
}

void
pl_arg_null(PlArgs *args)
{
	add_arg(args, (Datum) 0, 'n');
}

void
pl_arg_int64(PlArgs *args, int64 value)
{
	pl_arg(args, Int64GetDatum(value));
}

void
pl_arg_int32(PlArgs *args, int32 value)
{
	pl_arg(args, Int32GetDatum(value));
}

void
pl_arg_bool(PlArgs *args, bool value)
{
	pl_arg(args, BoolGetDatum(value));
}

/* NULL becomes SQL's null. */
void
pl_arg_text(PlArgs *args, const char *value)
{
	if (value == NULL)
		pl_arg_null(args);
	else
		pl_arg(args, CStringGetTextDatum(value));
}

void
pl_arg_timestamp(PlArgs *args, TimestampTz value)
{
	pl_arg(args, TimestampTzGetDatum(value));
}

/*
 * An array argument; nulls may be NULL when no element is.
 */
void
pl_arg_array(PlArgs *args, Datum *values, bool *nulls, int n, Oid elemtype)
{
	int16		typlen;
	bool		typbyval;
	char		typalign;
	int			lower_bound = 1;

	get_typlenbyvalalign(elemtype, &typlen, &typbyval, &typalign);
	pl_arg(args, PointerGetDatum(construct_md_array(values, nulls, 1, &n, &lower_bound,
													elemtype, typlen, typbyval, typalign)));
}

/* An int8[] argument. */
void
pl_arg_ids(PlArgs *args, const int64 *ids, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		values[i] = Int64GetDatum(ids[i]);
	pl_arg_array(args, values, NULL, n, INT8OID);
}

/*
 * Open the SPI connection that every query of a command uses.
 */
void
pl_connect(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
pl_finish(void)
{
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Our statements reach a few rows by index.  The plan is made once, without
 * looking at parameters; made while a table is small, it would scan the table
 * still when it has grown, so sequential scans are ruled out where there is
 * another way.  That makes those that remain look dear, but compiling code for
 * them never pays.
 */
static int
execute_plan(PlQuery *query, PlArgs *args, Snapshot snapshot, bool read_only)
{
	bool		saved_enable_seqscan = enable_seqscan;
	bool		saved_jit_enabled = jit_enabled;
	volatile int result = 0;

	PG_TRY();
	{
		enable_seqscan = false;
		jit_enabled = false;
		result = SPI_execute_snapshot(query->plan, args ? args->values : NULL,
									  args ? args->nulls : NULL, snapshot, InvalidSnapshot,
									  read_only, true, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = saved_enable_seqscan;
		jit_enabled = saved_jit_enabled;
	}
	PG_END_TRY();
	return result;
}

/*
 * Names in our statements are qualified, operators are not: they are looked up
 * in pg_catalog.  SECURITY DEFINER functions and workers have that path anyway;
 * here it is for triggers and procedures that run with the caller's.  Returns
 * a level for AtEOXact_GUC(), 0 if there is nothing to take back; an error
 * takes it back with its (sub)transaction.
 */
static int
pin_search_path(void)
{
	static const char path[] = "pg_catalog, pg_temp";
	int			nestlevel;

	if (namespace_search_path != NULL && strcmp(namespace_search_path, path) == 0)
		return 0;
	nestlevel = NewGUCNestLevel();
	(void) set_config_option("search_path", path, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	return nestlevel;
}

/* Prepare the plan at first use. */
static void
prepare(PlQuery *query)
{
	SPIPlanPtr	plan;

	if (query->plan != NULL)
		return;
	plan = SPI_prepare_cursor(query->sql, query->nargs, query->argtypes, CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", query->sql, SPI_result_code_string(SPI_result));
	SPI_keepplan(plan);
	query->plan = plan;
}

/* An argument too few would be read as 0. */
static void
check_args(const PlQuery *query, const PlArgs *args)
{
	int			n = args ? args->n : 0;

	if (query->nargs != n)
		elog(ERROR, "\"%s\" has %d arguments and is given %d", query->sql, query->nargs, n);
}

static uint64
run(PlQuery *query, PlArgs *args, Snapshot snapshot, bool read_only)
{
	int			result;
	int			nestlevel = pin_search_path();

	check_args(query, args);
	prepare(query);
	result = execute_plan(query, args, snapshot, read_only);
	if (nestlevel != 0)
		AtEOXact_GUC(true, nestlevel);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", query->sql, SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * Run a statement that may write, under a new snapshot (READ COMMITTED).
 * Returns the number of rows; RETURNING rows are read with pl_get_*().
 */
uint64
pl_execute(PlQuery *query, PlArgs *args)
{
	return run(query, args, InvalidSnapshot, false);
}

/*
 * The same under a snapshot of this moment in every isolation level: for what
 * has to see all that committed before a lock was granted.
 */
uint64
pl_execute_latest(PlQuery *query, PlArgs *args)
{
	return run(query, args, IsolationUsesXactSnapshot() ? GetLatestSnapshot() : InvalidSnapshot, false);
}

/*
 * Run a query under the caller's snapshot: exact for readers, and blind for
 * what other sessions committed since.
 */
uint64
pl_select(PlQuery *query, PlArgs *args)
{
	return run(query, args, InvalidSnapshot, true);
}

/*
 * A cursor over a query under the active snapshot, for results that are too
 * many to hold: SPI_cursor_fetch() and pl_get_*(), then SPI_cursor_close().
 *
 * Such a query reads ranges of indexes in their order and merges them.  Made
 * while the tables are small, its plan must do so still when they have grown.
 */
Portal
pl_open_cursor(PlQuery *query, PlArgs *args)
{
	Portal		portal;
	int			nestlevel = NewGUCNestLevel();

	check_args(query, args);
	(void) pin_search_path();
	if (query->plan == NULL || !SPI_plan_is_valid(query->plan))
	{
		static const char *const methods[] = {
			"enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_nestloop", "enable_sort", "jit"
		};

		for (int i = 0; i < (int) lengthof(methods); i++)
			(void) set_config_option(methods[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	}
	prepare(query);
	portal = SPI_cursor_open(NULL, query->plan, args ? args->values : NULL,
							 args ? args->nulls : NULL, true);
	AtEOXact_GUC(true, nestlevel);
	return portal;
}

/* What a query returns may be fewer rows than its caller thought of. */
static void
check_row(int row)
{
	if (row < 0 || SPI_tuptable == NULL || (uint64) row >= SPI_tuptable->numvals)
		elog(ERROR, "a result has no row %d", row);
}

/*
 * Readers of the last result: row from 0, column from 1.
 */
Datum
pl_get_datum(int row, int column, bool *isnull)
{
	check_row(row);
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

bool
pl_isnull(int row, int column)
{
	bool		isnull;

	(void) pl_get_datum(row, column, &isnull);
	return isnull;
}

/* The value, which must not be null: XX000. */
Datum
pl_get_value(int row, int column)
{
	bool		isnull;
	Datum		value = pl_get_datum(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected null in column %d", column);
	return value;
}

int64
pl_get_int64(int row, int column)
{
	return DatumGetInt64(pl_get_value(row, column));
}

int32
pl_get_int32(int row, int column)
{
	return DatumGetInt32(pl_get_value(row, column));
}

bool
pl_get_bool(int row, int column)
{
	return DatumGetBool(pl_get_value(row, column));
}

/* Output form of any type, palloc'd; NULL for null. */
char *
pl_get_text(int row, int column)
{
	check_row(row);
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/*
 * Make the rows of the last result the result of the set-returning function
 * fcinfo; columns must agree in number and type.  Call before pl_finish().
 */
void
pl_return_rows(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (rsinfo->setDesc->natts != SPI_tuptable->tupdesc->natts)
		elog(ERROR, "result has %d columns, the function %d",
			 SPI_tuptable->tupdesc->natts, rsinfo->setDesc->natts);
	for (uint64 i = 0; i < SPI_processed; i++)
		tuplestore_puttuple(rsinfo->setResult, SPI_tuptable->vals[i]);
}
