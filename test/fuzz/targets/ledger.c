/*
 * ledger.c
 *		Targets: money, entries, lines of orders and of settlement reports.
 */
#include "postgres.h"

#include "adapters/adyen/adyen.h"
#include "adapters/stripe/stripe.h"
#include "catalog/pg_collation.h"
#include "fuzz/fuzz.h"
#include "ledger/ledger.h"
#include "settlement/settlement_internal.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

extern Datum pl_sql_format_total(PG_FUNCTION_ARGS);

/* ---- money ---- */

/* A currency, an amount, a rate and a fixed part, a line each. */
static void
run_money(const char *data, size_t length)
{
	const char *currency = pl_check_currency(fuzz_line(&data, &length))->code;
	const char *number = fuzz_line(&data, &length);
	int64		amount;
	Datum		numeric;

	numeric = DirectFunctionCall3(numeric_in, CStringGetDatum(number), ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	(void) DirectFunctionCall2(pl_sql_format_total, numeric, CStringGetTextDatum(currency));
	amount = DatumGetInt64(DirectFunctionCall1(numeric_int8, numeric));
	(void) pl_format_amount(amount, pl_find_currency(currency));
	if (amount >= 0)
	{
		int32		bps = abs(atoi(fuzz_line(&data, &length)) % 10001);
		int64		fixed = llabs(atoll(fuzz_line(&data, &length)) % PG_INT64_MAX);
		int128		exact = ((int128) amount * bps + 5000) / 10000 + fixed;

		/* what does not fit is refused, by an error that says so */
		if (pl_commission(amount, bps, fixed) != exact)
			fuzz_fail("the commission on " INT64_FORMAT " is wrong: %d bps and " INT64_FORMAT, amount, bps, fixed);
	}
	if (pl_amount_from_psp(pl_amount_to_psp(amount, currency, pl_stripe_exponents), currency, pl_stripe_exponents) != amount ||
		pl_amount_from_psp(pl_amount_to_psp(amount, currency, pl_adyen_exponents), currency, pl_adyen_exponents) != amount)
		fuzz_fail("an amount is not what it was");
}

/* ---- JSON of callers ---- */

/* First character: as one entry's legs, with verdicts, or all or nothing. */
static void
run_entries(const char *data, size_t length)
{
	PlEntryBatch *batch;

	if (length == 0)
		return;
	batch = pl_entries_new();
	batch->gives_verdicts = data[0] == 'v';
	if (data[0] == 'l')
	{
		(void) pl_entry_add(batch, "ADJUSTMENT", 0, NULL, 0);
		pl_entry_legs_from_json(batch, fuzz_jsonb(data + 1));
	}
	else
		pl_entries_from_json(batch, fuzz_jsonb(data + 1));
	for (int i = 0; i < batch->nentries; i++)
	{
		const PlEntry *entry = batch->entries[i];

		if (entry->nlegs < 0 || entry->first_leg + entry->nlegs > batch->nlegs)
			fuzz_fail("legs of no entry");
		if (entry->denial != NULL)
			fuzz_expect_text("a denial", entry->denial->message);
	}
	pl_entries_find_accounts(batch);
	pl_entries_check_balanced(batch);
}

static void
run_lines(const char *data, size_t length)
{
	List	   *lines = pl_parse_lines(fuzz_jsonb(data));

	(void) pl_lines_total(lines);
	(void) fuzz_jsonb(pl_lines_json(lines));
}

/* ---- settlement reports ---- */

/*
 * The column maps, read once; index by first character.  They live in the
 * memory of an SPI procedure that does not end.
 */
static const PlFormat *
settlement_format(char which)
{
	static const char *const names[] = {"generic", "stripe", "stripe_report", "adyen"};
	static const PlFormat *formats[lengthof(names)];
	int			i = (unsigned char) which % lengthof(names);

	if (formats[i] == NULL)
	{
		MemoryContext oldcontext = CurrentMemoryContext;

		pl_connect();
		formats[i] = pl_read_format(names[i]);
		MemoryContextSwitchTo(oldcontext);
	}
	return formats[i];
}

static void
run_settlement(const char *data, size_t length)
{
	const PlFormat *format;
	Jsonb	   *lines;
	int			n;

	if (length == 0)
		return;
	format = settlement_format(data[0]);
	lines = fuzz_jsonb(data + 1);
	n = JB_ROOT_IS_ARRAY(lines) && !JB_ROOT_IS_SCALAR(lines) ? JB_ROOT_COUNT(lines) : 0;
	for (int i = 0; i < n; i++)
	{
		PlSettlementLine line = {0};

		if (!pl_read_settlement_line(format, getIthJsonbValueFromContainer(&lines->root, i), i, &line))
			continue;
		if (line.gross - line.fee != line.net)
			fuzz_fail("a line that does not add up");
		fuzz_expect_text("reference", line.psp_reference);
		fuzz_expect_text("own reference", line.reference);
	}
}

const FuzzTarget fuzz_ledger_targets[] = {
	{"money", run_money},
	{"entries", run_entries, true},
	{"lines", run_lines},
	{"settlement", run_settlement},
	{NULL}
};
