/*
 * src/settlement/leftovers.c
 *		The lines that found no group of items by key, currency and amount: what
 *		is wrong with them.
 *
 * A line that names our reference, which is known here, is compared with that
 * operation only; any other with the operations of its kind of the payment that
 * the PSP names.  Among those, in this order:
 *
 *	  1. equal currency and amount: matched;
 *	  2. a line that is alone and equals the sum of all open groups: matched with
 *		 all of them;
 *	  3. the n-th line with the n-th open group, in the order of amounts:
 *		 CURRENCY, OVER or UNDER;
 *	  4. a line that is left although its operation is on record: DUPLICATE;
 *	  5. any other: MISSING_HERE.
 *
 * What is matched may still be a FEE_DIFFERENCE: the fee of a capture against
 * the agreed one, that of a chargeback against the item of its fee; any other
 * if it cannot be right, with nothing that was expected in its stead.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "settlement/matching_sql.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* Sorts and hash tables of a matching statement may take as much each, kB; more goes to disk. */
#define MATCHING_WORK_MEM 32768

/*
 * Settled items of so many lines are looked up by index, one by one (OFFSET 0
 * keeps the planner from joining them otherwise); for more, all settled items
 * are read once.
 */
#define MAX_LOOKUPS "100000"

#define ITEM_COLUMNS "i.payment_id, i.kind, i.object_id, i.occurred_at, i.currency, i.amount, i.psp_reference"

/* $10 numbers of the lines, $11 now */
static PlQuery judge_leftovers = {
	"WITH lines AS MATERIALIZED ("
	" SELECT l.line_no, l.line_type, " LINE_KIND " AS kind, l.psp_reference,"
	"  CASE WHEN left(l.reference, 3) = 'pl_' THEN l.reference END AS reference, l.currency, l.gross, l.fee, l.net"
	" FROM payledger.settlement_lines l"
	" WHERE l.gateway = $1 AND l.report_id = $2 AND l.line_no = ANY ($10)),"

	/* what is on record of these payments and references */
	" payments AS MATERIALIZED (SELECT DISTINCT psp_reference FROM lines),"
	" reference AS MATERIALIZED (SELECT DISTINCT reference FROM lines WHERE reference IS NOT NULL),"
	" found AS MATERIALIZED ("
	" SELECT " ITEM_COLUMNS ", i.reference, true AS is_open"
	"  FROM (SELECT " ITEM_COLUMNS ", " ITEM_REFERENCE " AS reference FROM payledger.settlement_items i"
	"   WHERE i.gateway = $1 AND i.settlement_report_id IS NULL) i"
	"  LEFT JOIN payments p ON p.psp_reference = i.psp_reference"
	"  LEFT JOIN reference r ON r.reference = i.reference"
	"  WHERE p.psp_reference IS NOT NULL OR r.reference IS NOT NULL"
	" UNION ALL"
	" SELECT i.* FROM payments p, LATERAL ("
	"  SELECT " ITEM_COLUMNS ", " ITEM_REFERENCE " AS reference, false FROM payledger.settlement_items i"
	"  WHERE i.psp_reference = p.psp_reference AND i.settlement_report_id IS NOT NULL AND i.gateway = $1 OFFSET 0) i"
	"  WHERE cardinality($10) <= " MAX_LOOKUPS
	" UNION ALL"
	" SELECT " ITEM_COLUMNS ", " ITEM_REFERENCE ", false FROM payledger.settlement_items i"
	"  JOIN payments p ON p.psp_reference = i.psp_reference"
	"  WHERE cardinality($10) > " MAX_LOOKUPS " AND i.gateway = $1 AND i.settlement_report_id IS NOT NULL),"
	" groups AS MATERIALIZED ("
	" SELECT row_number() OVER () AS group_no, g.* FROM ("
	"  SELECT payment_id, kind, object_id, occurred_at, currency, is_open, min(psp_reference) AS psp_reference,"
	"   min(reference) AS reference, sum(amount)::bigint AS amount, count(*) AS items"
	"  FROM found GROUP BY payment_id, kind, object_id, occurred_at, currency, is_open) g),"

	/* lines and groups that belong together have a bucket: a known reference, else the payment */
	" named AS MATERIALIZED ("
	" SELECT DISTINCT g.reference, g.kind FROM groups g JOIN lines l ON l.reference = g.reference AND l.kind = g.kind),"
	" claims AS MATERIALIZED ("
	" SELECT l.*, CASE WHEN n.reference IS NULL THEN 'p' || l.psp_reference ELSE 'r' || l.reference END AS bucket,"
	"  n.reference IS NOT NULL AS is_named"
	" FROM lines l LEFT JOIN named n ON n.reference = l.reference AND n.kind = l.kind),"
	" offers AS MATERIALIZED ("
	" SELECT g.*, CASE WHEN n.reference IS NULL THEN 'p' || g.psp_reference ELSE 'r' || g.reference END AS bucket"
	" FROM groups g LEFT JOIN named n ON n.reference = g.reference AND n.kind = g.kind),"

	/* 1. equal */
	" equal AS MATERIALIZED ("
	" SELECT l.line_no, g.group_no FROM ("
	"  SELECT line_no, bucket, kind, currency, gross,"
	"   row_number() OVER (PARTITION BY bucket, kind, currency, gross ORDER BY line_no) AS n FROM claims) l"
	" JOIN (SELECT group_no, bucket, kind, currency, amount,"
	"   row_number() OVER (PARTITION BY bucket, kind, currency, amount ORDER BY occurred_at, object_id) AS n"
	"  FROM offers WHERE is_open) g"
	"  ON g.bucket = l.bucket AND g.kind = l.kind AND g.currency = l.currency AND g.amount = l.gross AND g.n = l.n),"
	" claims_left AS MATERIALIZED ("
	" SELECT c.*, count(*) OVER (PARTITION BY c.bucket, c.kind) AS lines FROM claims c"
	" WHERE NOT EXISTS (SELECT FROM equal e WHERE e.line_no = c.line_no)),"
	" offers_left AS MATERIALIZED ("
	" SELECT o.* FROM offers o"
	" WHERE o.is_open AND NOT EXISTS (SELECT FROM equal e WHERE e.group_no = o.group_no)),"

	/* 2. one line for all of them */
	" one_for_all AS MATERIALIZED ("
	" SELECT c.line_no, o.group_no FROM claims_left c"
	" JOIN (SELECT bucket, kind, min(currency) AS currency, sum(amount) AS amount FROM offers_left"
	"   GROUP BY bucket, kind HAVING min(currency) = max(currency)) s"
	"  ON s.bucket = c.bucket AND s.kind = c.kind AND s.currency = c.currency AND s.amount = c.gross"
	" JOIN offers_left o ON o.bucket = c.bucket AND o.kind = c.kind"
	" WHERE c.lines = 1),"

	/* 3. in the order of amounts */
	" in_order AS MATERIALIZED ("
	" SELECT l.line_no, g.group_no FROM ("
	"  SELECT c.line_no, c.bucket, c.kind,"
	"   row_number() OVER (PARTITION BY c.bucket, c.kind ORDER BY c.currency, c.gross, c.line_no) AS n"
	"  FROM claims_left c WHERE NOT EXISTS (SELECT FROM one_for_all a WHERE a.line_no = c.line_no)) l"
	" JOIN (SELECT o.group_no, o.bucket, o.kind,"
	"   row_number() OVER (PARTITION BY o.bucket, o.kind ORDER BY o.currency, o.amount, o.occurred_at, o.object_id) AS n"
	"  FROM offers_left o WHERE NOT EXISTS (SELECT FROM one_for_all a WHERE a.group_no = o.group_no)) g"
	"  ON g.bucket = l.bucket AND g.kind = l.kind AND g.n = l.n),"
	" taken AS MATERIALIZED ("
	" SELECT * FROM equal UNION ALL SELECT * FROM one_for_all UNION ALL SELECT * FROM in_order),"

	/* a chargeback's fee may be an item of its own that comes in the same line */
	" fees AS MATERIALIZED ("
	" SELECT t.line_no, f.group_no, f.amount FROM taken t"
	" JOIN claims c ON c.line_no = t.line_no"
	" JOIN groups g ON g.group_no = t.group_no"
	" JOIN groups f ON f.payment_id = g.payment_id AND f.object_id = g.object_id AND f.occurred_at = g.occurred_at"
	"  AND f.currency = g.currency AND f.is_open AND f.kind::text = CASE g.kind WHEN 'CHARGEBACK' THEN 'CHARGEBACK_FEE'"
	"   WHEN 'CHARGEBACK_REVERSAL' THEN 'CHARGEBACK_FEE_REVERSAL' END"
	" WHERE c.fee <> 0 AND NOT EXISTS (SELECT FROM taken o WHERE o.group_no = f.group_no)),"
	" compared AS MATERIALIZED ("
	" SELECT l.line_no, l.line_type, l.currency, l.gross, l.fee, l.net, g.payment_id, g.object_id, g.occurred_at,"
	"  g.currency AS expected_currency, g.amount AS expected_gross,"
	"  CASE WHEN l.kind = 'CAPTURE' AND $6 THEN " AGREED_FEE
	"   WHEN l.kind IN ('CHARGEBACK', 'CHARGEBACK_REVERSAL') AND l.fee <> 0 THEN coalesce(-f.amount, 0)"
	"   WHEN " IS_PLAUSIBLE_FEE("g.amount") " THEN l.fee END AS expected_fee"
	" FROM claims l"
	" JOIN (SELECT t.line_no, min(g.payment_id) AS payment_id,"
	"   CASE WHEN count(*) = 1 THEN min(g.object_id) END AS object_id,"
	"   CASE WHEN count(*) = 1 THEN min(g.occurred_at) END AS occurred_at,"
	"   min(g.currency) AS currency, sum(g.amount)::bigint AS amount"
	"  FROM taken t JOIN groups g ON g.group_no = t.group_no GROUP BY t.line_no) g ON g.line_no = l.line_no"
	" LEFT JOIN (SELECT line_no, sum(amount)::bigint AS amount FROM fees GROUP BY line_no) f ON f.line_no = l.line_no),"

	" verdicts AS MATERIALIZED ("
	" SELECT line_no, line_type, currency, gross, fee, net, payment_id, object_id, occurred_at, expected_currency,"
	"  expected_gross, expected_fee,"
	"  CASE WHEN currency <> expected_currency THEN 'CURRENCY' WHEN gross > expected_gross THEN 'OVER'"
	"   WHEN gross < expected_gross THEN 'UNDER' WHEN fee IS DISTINCT FROM expected_fee THEN 'FEE_DIFFERENCE' END AS category"
	" FROM compared"
	" UNION ALL"
	/* 4. and 5.: settled before, or claimed by another line of the report */
	" SELECT c.line_no, c.line_type, c.currency, c.gross, c.fee, c.net, p.payment_id, NULL, NULL, NULL, NULL, NULL,"
	"  CASE WHEN r.bucket IS NOT NULL OR o.bucket IS NOT NULL OR t.line_no IS NOT NULL THEN 'DUPLICATE'"
	"   ELSE 'MISSING_HERE' END"
	" FROM claims c"
	" LEFT JOIN (SELECT psp_reference, min(payment_id) AS payment_id FROM found GROUP BY psp_reference) p"
	"  ON p.psp_reference = c.psp_reference"
	" LEFT JOIN (SELECT DISTINCT bucket, kind FROM offers) r ON c.is_named AND r.bucket = c.bucket AND r.kind = c.kind"
	" LEFT JOIN (SELECT DISTINCT bucket, kind, currency, amount FROM offers) o"
	"  ON o.bucket = c.bucket AND o.kind = c.kind AND o.currency = c.currency AND o.amount = c.gross"
	" LEFT JOIN (SELECT b.bucket, b.kind, b.currency, b.gross, min(b.line_no) AS line_no FROM claims b"
	"   JOIN taken t ON t.line_no = b.line_no GROUP BY b.bucket, b.kind, b.currency, b.gross) t"
	"  ON t.bucket = c.bucket AND t.kind = c.kind AND t.currency = c.currency AND t.gross = c.gross"
	" WHERE NOT EXISTS (SELECT FROM taken t WHERE t.line_no = c.line_no)),"

	" pairs AS MATERIALIZED ("
	" SELECT v.line_no, g.kind, g.currency, g.amount, v.fee, CASE WHEN t.is_first THEN v.net ELSE 0 END AS net,"
	"  t.is_first::int AS lines, sum(g.items) OVER (PARTITION BY v.line_no) AS line_items, g.payment_id, g.object_id,"
	"  g.occurred_at, true AS matches"
	" FROM verdicts v"
	" JOIN (SELECT line_no, group_no, row_number() OVER (PARTITION BY line_no ORDER BY group_no) = 1 AS is_first"
	"  FROM (SELECT * FROM taken UNION ALL SELECT line_no, group_no FROM fees) b) t ON t.line_no = v.line_no"
	" JOIN groups g ON g.group_no = t.group_no"
	" WHERE v.category IS NULL),"
	SETTLE_PAIRS ","
	" noted AS ("
	" INSERT INTO payledger.settlement_exceptions"
	"  (settlement_exception_id, settlement_report_id, line_no, category, line_type, payment_id, object_id, occurred_at,"
	"   expected_amount, expected_currency, actual_amount, actual_currency, status, created_at)"
	" SELECT payledger.next_id(), $3, line_no, category::payledger.settlement_exception_category, line_type, payment_id,"
	"  object_id, occurred_at, CASE category WHEN 'FEE_DIFFERENCE' THEN expected_fee ELSE expected_gross END,"
	"  expected_currency, CASE category WHEN 'FEE_DIFFERENCE' THEN fee ELSE gross END, currency, 'OPEN', $11"
	" FROM verdicts WHERE category IS NOT NULL ORDER BY line_no)"
	" SELECT * FROM (" SETTLED_ROWS ") AS r ORDER BY 1, 4, 3",
	MATCHING_ARGS + 2,
	{TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, BOOLOID, BOOLOID, TEXTARRAYOID, INT8ARRAYOID, INT4ARRAYOID,
	TIMESTAMPTZOID}
};

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

/*
 * Run a statement over the lines and open items of a gateway.  It is planned
 * anew each time, with its arguments in sight, and sorts and merges or hashes:
 * a report that has just been copied in has no statistics, and nested loops
 * that a planner chooses for "one line" never end for a million.  Groups are
 * hashed only if the caller says that they are few.
 */
uint64
pl_run_matching(PlQuery *query, PlArgs *args, bool may_hash_groups)
{
	int			nestlevel = NewGUCNestLevel();
	SPIPlanPtr	plan;
	int			result;

	if (query->nargs != args->n)
		elog(ERROR, "\"%s\" has %d arguments and is given %d", query->sql, query->nargs, args->n);
	if (work_mem < MATCHING_WORK_MEM)
		set_local("work_mem", psprintf("%d", MATCHING_WORK_MEM));
	set_local("enable_nestloop", "off");
	set_local("jit", "off");
	if (!may_hash_groups)
		set_local("enable_hashagg", "off");

	plan = SPI_prepare(query->sql, query->nargs, query->argtypes);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", query->sql, SPI_result_code_string(SPI_result));
	result = SPI_execute_snapshot(plan, args->values, args->nulls,
								  IsolationUsesXactSnapshot() ? GetLatestSnapshot() : InvalidSnapshot,
								  InvalidSnapshot, false, true, 0);
	if (result < 0)
		elog(ERROR, "could not execute \"%s\": %s", query->sql, SPI_result_code_string(result));
	SPI_freeplan(plan);
	AtEOXact_GUC(true, nestlevel);
	return SPI_processed;
}

/*
 * Settle what can be settled of these lines (int[]) after all and write an
 * exception for each of the others.
 */
void
pl_judge_leftovers(PlMatching *matching, const PlArgs *shared_args, Datum lines)
{
	PlArgs		args = *shared_args;
	ArrayBuildState *left = NULL;

	pl_arg(&args, lines);
	pl_arg_timestamp(&args, matching->now);
	pl_run_matching(&judge_leftovers, &args, true);
	pl_read_matching(matching, &left);
	SPI_freetuptable(SPI_tuptable);
}
