/*
 * src/ledger/templates.c
 *		The entries that the payment flow posts, as a table.
 *
 * A template says which accounts are debited and credited with the amount, or
 * with which part of it.  A mirror has the same accounts on the other side and is derived:
 * the named ones below, and X_REVERSAL for every template X.
 */
#include "postgres.h"

#include "core/core.h"
#include "funcapi.h"
#include "ledger/ledger.h"
#include "utils/builtins.h"

#define MAX_TEMPLATE_LEGS 4
#define REVERSAL_SUFFIX "_REVERSAL"

typedef enum Side
{
	DEBIT,
	CREDIT
} Side;

typedef enum Entity
{
	PLATFORM,
	SELLER
} Entity;

typedef struct TemplateLeg
{
	Side		side;
	const char *account_type;	/* NULL ends the legs */
	Entity		entity;
	PlPart		part;
} TemplateLeg;

typedef struct Template
{
	const char *entry_type;
	TemplateLeg legs[MAX_TEMPLATE_LEGS];
} Template;

static const Template templates[] = {
	{"AUTH_HOLD", {
		{DEBIT, "AUTH_RECEIVABLE", PLATFORM},
		{CREDIT, "AUTH_LIABILITY", PLATFORM}}},
	{"CAPTURE", {
		{DEBIT, "AUTH_LIABILITY", PLATFORM},
		{DEBIT, "PSP_RECEIVABLES", PLATFORM},
		{CREDIT, "AUTH_RECEIVABLE", PLATFORM},
		{CREDIT, "MERCHANT_PAYABLE", SELLER}}},
	{"COMMISSION_FEE", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "PLATFORM_COMMISSION_REVENUE", PLATFORM}}},
	{"COMMISSION_REFUND", {
		{DEBIT, "PLATFORM_COMMISSION_REVENUE", PLATFORM},
		{CREDIT, "MERCHANT_PAYABLE", SELLER}}},
	{"SETTLEMENT", {
		{DEBIT, "PLATFORM_CASH", PLATFORM, PL_PART_NET},
		{DEBIT, "PSP_FEE_EXPENSE", PLATFORM, PL_PART_FEE},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"SETTLEMENT_SUSPENSE", {
		{DEBIT, "PLATFORM_CASH", PLATFORM, PL_PART_NET},
		{DEBIT, "PSP_FEE_EXPENSE", PLATFORM, PL_PART_FEE},
		{CREDIT, "SETTLEMENT_SUSPENSE", PLATFORM}}},
	{"SETTLEMENT_WRITE_OFF", {
		{DEBIT, "WRITE_OFF_EXPENSE", PLATFORM},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"PSP_FEE_RECHARGE", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "PSP_FEE_EXPENSE", PLATFORM}}},
	{"REFUND_REQUESTED", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "REFUND_CLEARING", PLATFORM}}},
	{"REFUND_DONE", {
		{DEBIT, "REFUND_CLEARING", PLATFORM},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"PAYOUT_REQUESTED", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "PAYOUT_CLEARING", PLATFORM}}},
	{"PAYOUT_PAID", {
		{DEBIT, "PAYOUT_CLEARING", PLATFORM},
		{CREDIT, "PLATFORM_CASH", PLATFORM}}},
	{"CHARGEBACK", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"CHARGEBACK_BORNE", {
		{DEBIT, "CHARGEBACK_EXPENSE", PLATFORM},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"CHARGEBACK_UNCLAIMED", {
		{DEBIT, "PSP_RECEIVABLES", PLATFORM},
		{CREDIT, "SETTLEMENT_SUSPENSE", SELLER}}},
	{"CHARGEBACK_FEE", {
		{DEBIT, "PSP_FEE_EXPENSE", PLATFORM},
		{CREDIT, "PSP_RECEIVABLES", PLATFORM}}},
	{"RESERVE_HOLD", {
		{DEBIT, "MERCHANT_PAYABLE", SELLER},
		{CREDIT, "MERCHANT_RESERVE", SELLER}}},
	{"WRITE_OFF", {
		{DEBIT, "WRITE_OFF_EXPENSE", PLATFORM},
		{CREDIT, "MERCHANT_PAYABLE", SELLER}}},
};

/* Mirrors that have a name of their own. */
static const struct
{
	const char *entry_type;
	const char *mirror_of;
}			named_mirrors[] = {
	{"AUTH_RELEASE", "AUTH_HOLD"},
	{"RESERVE_RELEASE", "RESERVE_HOLD"},
};

PG_FUNCTION_INFO_V1(pl_sql_posting_templates);

static const Template *
find_original(const char *entry_type, size_t length)
{
	for (int i = 0; i < (int) lengthof(templates); i++)
		if (strlen(templates[i].entry_type) == length &&
			strncmp(templates[i].entry_type, entry_type, length) == 0)
			return &templates[i];
	return NULL;
}

/* The original of a mirror, or NULL if it is none. */
static const Template *
find_mirrored(const char *entry_type)
{
	size_t		length = strlen(entry_type);
	size_t		suffix = strlen(REVERSAL_SUFFIX);

	for (int i = 0; i < (int) lengthof(named_mirrors); i++)
		if (strcmp(named_mirrors[i].entry_type, entry_type) == 0)
			return find_original(named_mirrors[i].mirror_of, strlen(named_mirrors[i].mirror_of));
	if (length > suffix && strcmp(entry_type + length - suffix, REVERSAL_SUFFIX) == 0)
		return find_original(entry_type, length - suffix);
	return NULL;
}

/*
 * Is the reference one that the payment flow gives its entries: a template's
 * type, a colon and an id, perhaps another colon and more?
 */
bool
pl_is_payment_reference(const char *reference)
{
	const char *colon = strchr(reference, ':');
	char	   *entry_type;
	size_t		digits;

	if (colon == NULL)
		return false;
	digits = strspn(colon + 1, "0123456789");
	if (digits == 0 || (colon[1 + digits] != '\0' && colon[1 + digits] != ':'))
		return false;
	entry_type = pnstrdup(reference, colon - reference);
	return find_original(entry_type, strlen(entry_type)) != NULL || find_mirrored(entry_type) != NULL;
}

/*
 * Copy the legs of a template, mirrored or not, debits first.  Returns their
 * number.
 */
static int
template_legs(const Template *template, bool mirrored, TemplateLeg *legs)
{
	int			n = 0;

	for (Side side = DEBIT; side <= CREDIT; side++)
		for (int i = 0; i < MAX_TEMPLATE_LEGS && template->legs[i].account_type != NULL; i++)
			if (template->legs[i].side == (mirrored ? CREDIT - side : side))
			{
				legs[n] = template->legs[i];
				legs[n++].side = side;
			}
	return n;
}

/*
 * Add an entry of the payment flow to the batch.  amounts are in minor units
 * of currency; a leg whose part is zero is left out, a negative part goes to
 * the other side.  seller_id may be NULL if no account of the template is a
 * seller's; reverses is 0 unless entry_type is the reversal of that entry.
 * Returns NULL if nothing is left to post.  An unknown template, a missing
 * seller or a reversal that names nothing is a bug of the caller, and XX000.
 */
PlEntry *
pl_post_template_parts(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
					   const char *reference, int64 reverses, const char *seller_id,
					   const char *currency, const int64 amounts[PL_PARTS])
{
	const Template *template = find_original(entry_type, strlen(entry_type));
	bool		mirrored = template == NULL;
	TemplateLeg legs[MAX_TEMPLATE_LEGS];
	int			nlegs;
	PlEntry    *entry = NULL;

	if (mirrored)
		template = find_mirrored(entry_type);
	if (template == NULL)
		elog(ERROR, "there is no posting template %s", entry_type);

	nlegs = template_legs(template, mirrored, legs);
	for (int i = 0; i < nlegs; i++)
	{
		const char *entity_id = legs[i].entity == SELLER ? seller_id : PL_GLOBAL_ENTITY;
		int64		amount = amounts[legs[i].part];

		if (entity_id == NULL)
			elog(ERROR, "entry type %s needs a seller", entry_type);
		if (amount == 0)
			continue;
		if (entry == NULL)
			entry = pl_entry_add(batch, entry_type, payment_id, reference, reverses);
		pl_entry_leg(batch, pl_account_code(legs[i].account_type, entity_id, currency),
					 legs[i].side == DEBIT ? amount : -amount);
	}
	return entry;
}

/*
 * The same with one amount >= 0 for all legs; 0 adds nothing and returns NULL.
 */
PlEntry *
pl_post_template(PlEntryBatch *batch, const char *entry_type, int64 payment_id,
				 const char *reference, int64 reverses, const char *seller_id,
				 const char *currency, int64 amount)
{
	const int64 amounts[PL_PARTS] = {amount, amount, amount};

	if (amount < 0)
		elog(ERROR, "amount " INT64_FORMAT " of entry type %s is negative", amount, entry_type);
	return pl_post_template_parts(batch, entry_type, payment_id, reference, reverses, seller_id,
								  currency, amounts);
}

/* ---- for readers ---- */

static void
put_template(ReturnSetInfo *rsinfo, const char *entry_type, const Template *template, bool mirrored)
{
	TemplateLeg legs[MAX_TEMPLATE_LEGS];
	int			nlegs = template_legs(template, mirrored, legs);

	for (int i = 0; i < nlegs; i++)
	{
		static const char *const parts[PL_PARTS] = {"whole", "net", "fee"};
		Datum		values[7];
		bool		nulls[7] = {false, false, false, false, false, !mirrored, false};

		values[0] = CStringGetTextDatum(entry_type);
		values[1] = Int32GetDatum(i + 1);
		values[2] = CStringGetTextDatum(legs[i].side == DEBIT ? "DEBIT" : "CREDIT");
		values[3] = CStringGetTextDatum(legs[i].account_type);
		values[4] = CStringGetTextDatum(legs[i].entity == SELLER ? "seller" : PL_GLOBAL_ENTITY);
		values[5] = CStringGetTextDatum(template->entry_type);
		values[6] = CStringGetTextDatum(parts[legs[i].part]);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
}

/*
 * posting_templates() RETURNS TABLE (entry_type, leg, side, account_type,
 * entity_id, mirror_of, part)
 */
Datum
pl_sql_posting_templates(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int i = 0; i < (int) lengthof(templates); i++)
	{
		const Template *template = &templates[i];

		put_template(rsinfo, template->entry_type, template, false);
		for (int m = 0; m < (int) lengthof(named_mirrors); m++)
			if (strcmp(named_mirrors[m].mirror_of, template->entry_type) == 0)
				put_template(rsinfo, named_mirrors[m].entry_type, template, true);
		put_template(rsinfo, psprintf("%s" REVERSAL_SUFFIX, template->entry_type), template, true);
	}
	return (Datum) 0;
}
