/*
 * src/command/items.c
 *		Open items of PSP_RECEIVABLES: one row for each posting that a
 *		settlement report of the PSP has to clear, written with the entry.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command_internal.h"
#include "utils/builtins.h"

#define ITEM_COLUMNS 10

static PlQuery insert_items = {
	"INSERT INTO payledger.settlement_items"
	" (settlement_item_id, payment_id, payment_order_id, object_id, kind, gateway, psp_reference,"
	"  seller_id, currency, amount, occurred_at)"
	" SELECT i, p, o, b, k::payledger.settlement_item_kind, g, r, s, c, a, $11"
	" FROM (SELECT pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3), pg_catalog.unnest($4),"
	"  pg_catalog.unnest($5), pg_catalog.unnest($6), pg_catalog.unnest($7), pg_catalog.unnest($8),"
	"  pg_catalog.unnest($9), pg_catalog.unnest($10)) AS u(i, p, o, b, k, g, r, s, c, a)",
	11, {INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, INT8ARRAYOID, TIMESTAMPTZOID}
};

/* Most units note one, and arrays of one are dear. */
static PlQuery insert_item = {
	"INSERT INTO payledger.settlement_items"
	" (settlement_item_id, payment_id, payment_order_id, object_id, kind, gateway, psp_reference,"
	"  seller_id, currency, amount, occurred_at)"
	" VALUES ($1, $2, $3, $4, $5::payledger.settlement_item_kind, $6, $7, $8, $9, $10, $11)",
	11, {INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID, TIMESTAMPTZOID}
};

/*
 * Note an open item; one of zero is nothing.  Belongs to every posting to
 * PSP_RECEIVABLES.
 */
void
pl_item_add(PlWork *work, const PlItem *item)
{
	PlItem	   *copy;

	if (item->amount == 0)
		return;
	copy = palloc(sizeof(PlItem));
	*copy = *item;
	work->items = lappend(work->items, copy);
}

static void
insert_one(const PlItem *item, TimestampTz now)
{
	PlArgs		args = {0};

	pl_arg_int64(&args, pl_next_id());
	pl_arg_int64(&args, item->payment_id);
	pl_arg_int64(&args, item->payment_order_id);
	pl_arg_int64(&args, item->object_id);
	pl_arg_text(&args, item->kind);
	pl_arg_text(&args, item->gateway);
	pl_arg_text(&args, item->psp_reference);
	pl_arg_text(&args, item->seller_id);
	pl_arg_text(&args, item->currency);
	pl_arg_int64(&args, item->amount);
	pl_arg_timestamp(&args, now);
	pl_execute(&insert_item, &args);
}

/*
 * Write the items of the unit with one statement.  Needs an open SPI
 * connection.
 */
void
pl_items_insert(PlWork *work)
{
	static const Oid types[ITEM_COLUMNS] = {
		INT8OID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT8OID
	};
	int			n = list_length(work->items);
	Datum	   *columns[ITEM_COLUMNS];
	bool	   *reference_nulls;
	PlArgs		args = {0};
	ListCell   *cell;

	if (n == 0)
		return;
	if (n == 1)
	{
		insert_one(linitial(work->items), work->now);
		return;
	}
	for (int c = 0; c < ITEM_COLUMNS; c++)
		columns[c] = palloc0(sizeof(Datum) * n);
	reference_nulls = palloc(sizeof(bool) * n);
	foreach(cell, work->items)
	{
		const PlItem *item = lfirst(cell);
		int			i = foreach_current_index(cell);

		columns[0][i] = Int64GetDatum(pl_next_id());
		columns[1][i] = Int64GetDatum(item->payment_id);
		columns[2][i] = Int64GetDatum(item->payment_order_id);
		columns[3][i] = Int64GetDatum(item->object_id);
		columns[4][i] = CStringGetTextDatum(item->kind);
		columns[5][i] = CStringGetTextDatum(item->gateway);
		reference_nulls[i] = item->psp_reference == NULL;
		if (!reference_nulls[i])
			columns[6][i] = CStringGetTextDatum(item->psp_reference);
		columns[7][i] = CStringGetTextDatum(item->seller_id);
		columns[8][i] = CStringGetTextDatum(item->currency);
		columns[9][i] = Int64GetDatum(item->amount);
	}
	for (int c = 0; c < ITEM_COLUMNS; c++)
		pl_arg_array(&args, columns[c], c == 6 ? reference_nulls : NULL, n, types[c]);
	pl_arg_timestamp(&args, work->now);
	pl_execute(&insert_items, &args);
}
