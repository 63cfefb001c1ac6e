/*
 * src/seller/payout_terms.c
 *		How a seller is paid out: to whom, through which gateway, when.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "core/core.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"

#define MAX_BENEFICIARY 255

#define TERMS_COLUMNS \
	"seller_id, currency, beneficiary, gateway, available_from::text, schedule::text, payout_day, cut_off," \
	" minimum, next_payout_at"

/* Arguments of set_payout_terms() */
enum
{
	ARG_SELLER_ID,
	ARG_CURRENCY,
	ARG_BENEFICIARY,
	ARG_SCHEDULE,
	ARG_PAYOUT_DAY,
	ARG_CUT_OFF,
	ARG_MINIMUM,
	ARG_GATEWAY,
	ARG_AVAILABLE_FROM
};

static PlQuery seller_exists = {
	"SELECT FROM payledger.sellers WHERE seller_id = $1 AND currency = $2", 2, {TEXTOID, TEXTOID}
};

static PlQuery insert_terms = {
	"INSERT INTO payledger.payout_terms (seller_id, currency, updated_at, updated_by) VALUES ($1, $2, $3, $4)"
	" ON CONFLICT DO NOTHING", 4, {TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID}
};

static PlQuery lock_terms = {
	"SELECT " TERMS_COLUMNS " FROM payledger.payout_terms WHERE seller_id = $1 AND currency = $2 FOR NO KEY UPDATE",
	2, {TEXTOID, TEXTOID}
};

static PlQuery find_gateway = {
	"SELECT pays_out FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

/*
 * The next cut-off stays unless the schedule changes ($11); a new one comes
 * after all that were paid out, so that none is paid out twice.
 */
static PlQuery update_terms = {
	"UPDATE payledger.payout_terms t SET beneficiary = $3, gateway = $4,"
	" available_from = $5::payledger.funds_availability, schedule = $6::payledger.payout_schedule,"
	" payout_day = $7, cut_off = $8, minimum = $9, updated_at = $10,"
	" next_payout_at = CASE WHEN $11 THEN payledger.next_payout_at($6, $7, $8,"
	"		greatest($10, (SELECT max(p.scheduled_for) FROM payledger.payouts p"
	"						WHERE p.seller_id = $1 AND p.currency = $2)),"
	"		(SELECT l.time_zone FROM payledger.ledgers l WHERE l.ledger = 'MAIN')) ELSE t.next_payout_at END,"
	" problem = CASE WHEN $11 THEN NULL ELSE t.problem END, updated_by = $12"
	" WHERE seller_id = $1 AND currency = $2 RETURNING " TERMS_COLUMNS,
	12, {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TIMEOID, INT8OID, TIMESTAMPTZOID, BOOLOID, TEXTOID}
};

/* A row of payout_terms. */
typedef struct Terms
{
	const char *seller_id;
	const char *currency;
	const char *beneficiary;	/* NULL: none */
	const char *gateway;		/* NULL: the default one */
	const char *available_from;
	const char *schedule;
	int32		payout_day;		/* 0: none */
	TimeADT		cut_off;
	int64		minimum;		/* minor units */
} Terms;

PG_FUNCTION_INFO_V1(pl_sql_set_payout_terms);

/* ---- account data ---- */

/* ISO 13616: countries and the length of their IBANs */
static const char ibans[] =
	"AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28"
	" EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26"
	" IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28"
	" NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25"
	" SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 ";

#define MAX_IBAN 34

/*
 * Is value written like an IBAN: country, two check digits, letters and digits
 * in its country's length?  Wrong check digits make it no less of one.
 */
static bool
is_iban(const char *value)
{
	char		compact[MAX_IBAN + 1];
	int			n = 0;

	for (const char *p = value; *p; p++)
	{
		if (*p == ' ' || *p == '-')
			continue;
		if (n == MAX_IBAN || !isalnum((unsigned char) *p))
			return false;
		compact[n++] = toupper((unsigned char) *p);
	}
	compact[n] = '\0';
	return n > 4 && isalpha((unsigned char) compact[0]) && isalpha((unsigned char) compact[1]) &&
		isdigit((unsigned char) compact[2]) && isdigit((unsigned char) compact[3]) &&
		strstr(ibans, psprintf("%.2s%d ", compact, n)) != NULL;
}

/*
 * Raise 22023 or PL011 for what is no token.  The value is never shown.
 */
static void
check_beneficiary(const char *beneficiary)
{
	pl_check_text("beneficiary", beneficiary, MAX_BENEFICIARY);
	if (is_iban(beneficiary))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("beneficiary is the number of a bank account"),
				 errhint("Pass the token that the payment service provider gave for the account; account data is not kept here.")));
}

/* ---- what goes together ---- */

static void
check_word(const char *what, const char *value, const char *const *words, int n)
{
	StringInfoData legal;

	if (value == NULL)
		return;
	initStringInfo(&legal);
	for (int i = 0; i < n; i++)
	{
		if (strcmp(value, words[i]) == 0)
			return;
		appendStringInfo(&legal, "%s%s", i == 0 ? "" : i == n - 1 ? " or " : ", ", words[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" does not exist", what, value),
			 errhint("It is %s.", legal.data)));
}

static void
check_gateway(const char *gateway)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	if (pl_execute(&find_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway %s does not exist", gateway),
				 errhint("Use payledger.add_gateway.")));
	if (!pl_get_bool(0, 1))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("gateway %s cannot pay out", gateway),
				 errhint("payledger.gateways.pays_out says which can.")));
}

/* The day of a schedule that has one. */
static void
check_payout_day(const Terms *terms, bool is_given)
{
	bool		is_weekly = strcmp(terms->schedule, "weekly") == 0;

	if (is_weekly || strcmp(terms->schedule, "monthly") == 0)
	{
		if (terms->payout_day < 1 || terms->payout_day > (is_weekly ? 7 : 31))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 terms->payout_day == 0 ? errmsg("payout_day is missing") :
					 errmsg("payout_day %d is not between 1 and %d", terms->payout_day, is_weekly ? 7 : 31),
					 is_weekly ? errhint("With schedule weekly it is the day of the week, 1 for Monday.") :
					 errhint("With schedule monthly it is the day of the month, the last one if the month is shorter.")));
	}
	else if (is_given)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("payout_day goes with schedule weekly or monthly, not %s", terms->schedule)));
}

static void
check_terms(const Terms *terms)
{
	if (terms->minimum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("minimum " INT64_FORMAT " is negative", terms->minimum)));
	if (terms->cut_off >= USECS_PER_DAY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cut_off 24:00 is not within a day"),
				 errhint("Use 00:00.")));
	if (strcmp(terms->schedule, "manual") != 0 && terms->beneficiary == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("seller %s has no beneficiary in %s to be paid out by schedule", terms->seller_id, terms->currency),
				 errhint("Pass the PSP's token of the seller's account as beneficiary.")));
}

/* ---- the command ---- */

/* The terms as they are, locked; made if the seller has none. */
static void
lock_present(Terms *terms)
{
	PlArgs		key = {0};
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_text(&key, terms->seller_id);
	pl_arg_text(&key, terms->currency);
	if (pl_execute_latest(&seller_exists, &key) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("seller %s is not registered in %s", terms->seller_id, terms->currency),
				 errhint("Use payledger.register_seller.")));
	pl_arg_text(&args, terms->seller_id);
	pl_arg_text(&args, terms->currency);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute_latest(&insert_terms, &args);

	pl_execute_latest(&lock_terms, &key);
	terms->beneficiary = pl_get_text(0, 3);
	terms->gateway = pl_get_text(0, 4);
	terms->available_from = pl_get_text(0, 5);
	terms->schedule = pl_get_text(0, 6);
	terms->payout_day = pl_isnull(0, 7) ? 0 : pl_get_int32(0, 7);
	terms->cut_off = DatumGetTimeADT(pl_get_datum(0, 8, &isnull));
	terms->minimum = pl_get_int64(0, 9);
}

/* Replace what the caller gave.  Returns whether that is when to pay out. */
static bool
merge_arguments(FunctionCallInfo fcinfo, Terms *terms)
{
	static const char *const schedules[] = {"manual", "daily", "weekly", "monthly"};
	static const char *const availabilities[] = {"settlement", "capture"};
	char	   *beneficiary = pl_optional_text_arg(fcinfo, ARG_BENEFICIARY);
	char	   *schedule = pl_optional_text_arg(fcinfo, ARG_SCHEDULE);
	char	   *gateway = pl_optional_text_arg(fcinfo, ARG_GATEWAY);
	char	   *available_from = pl_optional_text_arg(fcinfo, ARG_AVAILABLE_FROM);
	Terms		before = *terms;

	if (beneficiary != NULL)
		check_beneficiary(beneficiary);
	check_word("schedule", schedule, schedules, lengthof(schedules));
	check_word("available_from", available_from, availabilities, lengthof(availabilities));
	if (gateway != NULL)
		check_gateway(gateway);

	if (beneficiary != NULL)
		terms->beneficiary = beneficiary;
	if (schedule != NULL)
		terms->schedule = schedule;
	if (!PG_ARGISNULL(ARG_PAYOUT_DAY))
		terms->payout_day = PG_GETARG_INT32(ARG_PAYOUT_DAY);
	if (!PG_ARGISNULL(ARG_CUT_OFF))
		terms->cut_off = PG_GETARG_TIMEADT(ARG_CUT_OFF);
	if (!PG_ARGISNULL(ARG_MINIMUM))
		terms->minimum = PG_GETARG_INT64(ARG_MINIMUM);
	if (gateway != NULL)
		terms->gateway = gateway;
	if (available_from != NULL)
		terms->available_from = available_from;

	check_payout_day(terms, !PG_ARGISNULL(ARG_PAYOUT_DAY));
	check_terms(terms);
	if (strcmp(terms->schedule, "weekly") != 0 && strcmp(terms->schedule, "monthly") != 0)
		terms->payout_day = 0;
	return strcmp(before.schedule, terms->schedule) != 0 || before.payout_day != terms->payout_day ||
		before.cut_off != terms->cut_off;
}

/*
 * set_payout_terms(seller_id, currency, beneficiary, schedule, payout_day,
 *		cut_off, minimum, gateway, available_from): nulls keep what is there.
 */
Datum
pl_sql_set_payout_terms(PG_FUNCTION_ARGS)
{
	Terms		terms = {0};
	bool		is_rescheduled;
	PlArgs		args = {0};

	terms.seller_id = pl_text_arg(fcinfo, ARG_SELLER_ID, "seller_id");
	terms.currency = pl_text_arg(fcinfo, ARG_CURRENCY, "currency");
	pl_connect();
	pl_require_layout();
	pl_check_currency(terms.currency);
	lock_present(&terms);
	is_rescheduled = merge_arguments(fcinfo, &terms);

	pl_arg_text(&args, terms.seller_id);
	pl_arg_text(&args, terms.currency);
	pl_arg_text(&args, terms.beneficiary);
	pl_arg_text(&args, terms.gateway);
	pl_arg_text(&args, terms.available_from);
	pl_arg_text(&args, terms.schedule);
	if (terms.payout_day != 0)
		pl_arg_int32(&args, terms.payout_day);
	else
		pl_arg_null(&args);
	pl_arg(&args, TimeADTGetDatum(terms.cut_off));
	pl_arg_int64(&args, terms.minimum);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_arg_bool(&args, is_rescheduled);
	pl_arg_text(&args, GetUserNameFromId(GetOuterUserId(), false));
	pl_execute_latest(&update_terms, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
