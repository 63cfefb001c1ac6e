/*
 * src/settlement/settlement_internal.h
 *		Settlement reports: imported, matched with open items, posted; what does
 *		not match.
 *
 * Lock order: the gateway's row, which makes the reconciliations and resolutions
 * of a gateway wait for each other; its report; the exception; open items.
 */
#ifndef PL_SETTLEMENT_INTERNAL_H
#define PL_SETTLEMENT_INTERNAL_H

#include "command/command.h"

/* ---- reports.c ---- */

/* A row of settlement_reports. */
typedef struct PlReport
{
	int64		settlement_report_id;
	const char *gateway;
	const char *report_id;
	bool		is_reconciled;
	bool		has_payout;
	int64		payout_amount;	/* minor units of currency */
	const char *currency;		/* of payout_amount; NULL: none */
	bool		has_cutoff;
	TimestampTz settled_through;
} PlReport;

/* What the PSP says of a report beside its lines, as a caller states it. */
typedef struct PlReportHeader
{
	bool		has_payout;
	int64		payout_amount;
	bool		has_cutoff;
	TimestampTz settled_through;
} PlReportHeader;

/* how references of our own begin; an id follows */
#define OWN_REFERENCE "pl_"

extern void pl_check_line_text(const char *what, const char *value);
extern void pl_check_report_id(const char *report_id);
extern void pl_require_gateway(const char *gateway);
extern void pl_lock_gateway(const char *gateway);
extern bool pl_insert_report(const char *gateway, const char *report_id);
extern bool pl_lock_report(const char *gateway, const char *report_id, PlReport *report);
extern void pl_report_header_args(FunctionCallInfo fcinfo, int argno, PlReportHeader *header);
extern void pl_state_header(PlReport *report, const PlReportHeader *header);
extern void pl_return_report(FunctionCallInfo fcinfo, int64 settlement_report_id);

/* ---- values.c ---- */

/* A line that is being read. */
typedef struct PlLineReader
{
	const struct PlFormat *format;
	const char *format_name;
	JsonbContainer *object;
	int			index;			/* from 0 */
	const PlCurrency *currency; /* NULL until it is known */
} PlLineReader;

extern char *pl_line_path(const PlLineReader *reader, const char *name);
pg_noreturn extern void pl_wrong_member(const PlLineReader *reader, const char *name, const char *expected);
extern bool pl_has_member(JsonbContainer *object, const char *name, JsonbValue *value);
extern bool pl_find_member(JsonbContainer *object, const char *name, JsonbValue *value);
extern char *pl_member_text(const PlLineReader *reader, const char *name, const JsonbValue *value);
extern int64 pl_member_units(const PlLineReader *reader, const char *name, const JsonbValue *value, int exponent);
extern int64 pl_member_whole(const PlLineReader *reader, const char *name, const JsonbValue *value);
extern TimestampTz pl_member_seconds(const PlLineReader *reader, const char *name, const JsonbValue *value);
extern TimestampTz pl_member_time(const PlLineReader *reader, const char *name, const char *text);

/* ---- formats.c ---- */

/* A line as it goes into settlement_lines; amounts in minor units. */
typedef struct PlSettlementLine
{
	int32		line_no;
	const char *line_type;
	bool		is_part;		/* to be added to the line of its type for its payment */
	const char *psp_reference;	/* NULL: none */
	const char *reference;		/* NULL: none */
	const PlCurrency *currency;
	int64		gross;
	int64		fee;
	int64		net;
	bool		has_time;
	TimestampTz occurred_at;
} PlSettlementLine;

typedef struct PlFormat PlFormat;

extern PlFormat *pl_read_format(const char *name);
extern void pl_warn_of_absent_columns(const PlFormat *format);
extern bool pl_read_settlement_line(PlFormat *format, const JsonbValue *element, int index,
									PlSettlementLine *line);

/* ---- recharges.c: fees that sellers pay ---- */

/* The fees of one seller's captures that were settled, minor units. */
typedef struct PlRecharge
{
	const char *seller_id;
	const char *currency;
	int64		fee;
} PlRecharge;

/* Sellers whose commission rules charge the PSP's fee on, and those rules. */
typedef struct PlFeePayers
{
	bool		exist;
	Datum		sellers;		/* text[] */
	Datum		rules;			/* bigint[] */
} PlFeePayers;

/* One item of a capture that was settled with others by one line. */
typedef struct PlFeeShare
{
	const char *seller_id;
	int64		amount;			/* of the item */
	bool		pays;
} PlFeeShare;

extern void pl_find_fee_payers(PlFeePayers *payers);
extern List *pl_add_recharge(List *recharges, const char *seller_id, const char *currency, int64 fee);
extern List *pl_share_fee(List *recharges, const char *currency, int64 fee, const PlFeeShare *shares, int n);

/* ---- matching.c ---- */

/* What the lines of one currency come to, minor units. */
typedef struct PlCurrencyTotal
{
	const char *currency;
	int64		matched;		/* lines that settle items, and fees */
	int64		gross;			/* of the items that are settled */
	int64		net;			/* of those lines */
	int64		payouts;		/* lines of type payout */
	int64		all_net;		/* of all lines but payouts */
	int64		payout_net;		/* of payouts */
} PlCurrencyTotal;

typedef struct PlMatching
{
	const PlReport *report;
	TimestampTz now;
	int64		lines;
	List	   *totals;			/* of PlCurrencyTotal, by currency */
	List	   *recharges;		/* of PlRecharge */
} PlMatching;

extern void pl_match_report(PlMatching *matching);
extern PlCurrencyTotal *pl_total_of(PlMatching *matching, const char *currency);

/* ---- posting.c ---- */

extern void pl_post_settlement(PlWork *work, const PlMatching *matching);
extern void pl_post_recharges(PlWork *work, List *recharges, int64 cause_id);

#endif							/* PL_SETTLEMENT_INTERNAL_H */
