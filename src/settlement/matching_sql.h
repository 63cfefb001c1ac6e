/*
 * src/settlement/matching_sql.h
 *		What the two matching statements have in common.  Private to
 *		matching.c and leftovers.c.
 */
#ifndef PL_MATCHING_SQL_H
#define PL_MATCHING_SQL_H

#include "catalog/pg_type.h"
#include "settlement/settlement_internal.h"
#include "utils/array.h"

/*
 * $1 gateway, $2 report_id, $3 settlement_report_id; $4 bps, $5 fixed part of
 * the agreed fee, $6 whether there is one; $7 whether sellers pay fees, $8
 * those sellers, $9 the rules that say so.
 */
#define MATCHING_ARGS 9
#define MATCHING_ARG_TYPES \
	{TEXTOID, TEXTOID, INT8OID, INT8OID, INT8OID, BOOLOID, BOOLOID, TEXTARRAYOID, INT8ARRAYOID}

/* The kind of item that a line l is about. */
#define LINE_KIND "upper(l.line_type::text)::payledger.settlement_item_kind"

/* What the PSP was told is our id of an item i's operation; null: nothing. */
#define ITEM_REFERENCE \
	"(CASE WHEN i.kind IN ('CAPTURE', 'CAPTURE_REVERSAL') THEN 'pl_' || i.object_id" \
	" WHEN i.kind IN ('REFUND', 'REFUND_REVERSAL') THEN" \
	" (SELECT 'pl_' || r.psp_request_id FROM payledger.psp_requests r" \
	"   WHERE r.payment_id = i.payment_id AND r.operation = 'REFUND' AND r.target = i.object_id LIMIT 1) END)"

/* of a line l; rounded half up, without passing a bigint on the way */
#define AGREED_FEE "(l.gross / 10000 * $4 + (l.gross % 10000 * $4 + 5000) / 10000 + $5)"

/*
 * Whether a fee of a line l that settles that amount can be right where none
 * was agreed: a PSP keeps no more than all of it, and gives nothing back when
 * it captures.  Beyond that it is more likely in other units, or of another
 * line.  A fixed fee may well be above a tiny amount: up to 1000 minor units
 * nothing is said.
 */
#define IS_PLAUSIBLE_FEE(amount) \
	"(l.fee <= greatest(abs(" amount "), 1000)" \
	" AND l.fee >= CASE l.line_type WHEN 'capture' THEN 0 ELSE -greatest(abs(" amount "), 1000) END)"

/*
 * After pairs(line_no, kind, currency, amount, fee, net, lines, line_items,
 * payment_id, object_id, occurred_at, matches), a row for each line and group:
 * settle the groups' items.  Of a line with several groups only one has its
 * net, and lines 1.
 */
#define SETTLE_PAIRS \
	" settled AS (" \
	" UPDATE payledger.settlement_items i SET settlement_report_id = $3, line_no = p.line_no" \
	" FROM pairs p" \
	" WHERE p.matches AND i.gateway = $1 AND i.settlement_report_id IS NULL AND i.payment_id = p.payment_id" \
	"  AND i.kind = p.kind AND i.object_id = p.object_id AND i.occurred_at = p.occurred_at" \
	" RETURNING i.payment_id, i.payment_order_id, i.seller_id, i.currency, i.amount, i.kind, p.line_no, p.fee, p.line_items)," \
	" charged AS MATERIALIZED (" \
	" SELECT s.currency, s.seller_id, s.line_no, s.amount, s.fee, s.line_items," \
	"  coalesce(s.seller_id = ANY ($8) AND (SELECT o.commission_rule_id FROM payledger.payment_orders o" \
	"   WHERE o.payment_id = s.payment_id AND o.payment_order_id = s.payment_order_id) = ANY ($9), false) AS pays" \
	" FROM settled s" \
	" WHERE $7 AND s.kind = 'CAPTURE' AND s.fee <> 0 AND (s.line_items > 1 OR s.seller_id = ANY ($8)))"

/*
 * The rows that pl_read_matching() reads: what, currency, seller, line, three
 * numbers, whether the seller pays, lines.
 */
#define SETTLED_ROWS \
	" SELECT 'matched' AS what, p.currency, NULL AS seller_id, NULL::bigint AS line_no, sum(p.lines)::bigint," \
	"  sum(p.amount)::bigint, sum(p.net)::bigint, NULL::boolean, NULL::int[]" \
	"  FROM pairs p WHERE p.matches GROUP BY p.currency" \
	" UNION ALL SELECT 'charged', c.currency, c.seller_id, NULL, NULL, sum(c.fee)::bigint, NULL, NULL, NULL" \
	"  FROM charged c WHERE c.line_items = 1 AND c.pays GROUP BY c.currency, c.seller_id" \
	" UNION ALL SELECT 'shared', c.currency, c.seller_id, c.line_no, c.amount, c.fee, NULL, c.pays, NULL" \
	"  FROM (SELECT *, bool_or(pays) OVER (PARTITION BY line_no) AS any_pays FROM charged WHERE line_items > 1) c" \
	"  WHERE c.any_pays"

/* leftovers.c */
extern uint64 pl_run_matching(PlQuery *query, PlArgs *args, bool may_hash_groups);
extern void pl_judge_leftovers(PlMatching *matching, const PlArgs *shared_args, Datum lines);

/* matching.c */
extern void pl_read_matching(PlMatching *matching, ArrayBuildState **left);

#endif							/* PL_MATCHING_SQL_H */
