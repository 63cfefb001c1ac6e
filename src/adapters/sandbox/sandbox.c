/*
 * src/adapters/sandbox/sandbox.c
 *		Embedded adapter: a PSP that needs no network, for development and
 *		tests.
 *
 * What a payment method does is its name; chance, where an option asks for
 * it, depends on the seed, the request's idempotency key and the attempt, so
 * a run can be repeated.  The clock has no say.
 */
#include "postgres.h"

#include "adapters/adapters_internal.h"
#include "command/command.h"
#include "common/hashfn.h"
#include "gateway/gateway.h"

static const PlOption sandbox_options[] = {
	{"timeout_ms", PL_OPTION_INT, 50, 600000, NULL, "1000",
	"milliseconds after which an answer that got lost counts as lost"},
	{"seed", PL_OPTION_INT, 0, 2147483647, NULL, "1",
	"another number gives other latencies and faults"},
	{"latency_ms", PL_OPTION_INT, 0, 60000, NULL, "0",
	"milliseconds to an answer, at least"},
	{"latency_max_ms", PL_OPTION_INT, 0, 60000, NULL, "0",
	"milliseconds to an answer, at most; below latency_ms: always latency_ms"},
	{"fault_rate", PL_OPTION_NUMBER, 0, 1, NULL, "0",
	"share of attempts that fail: one third refused for now, one third lost before and one third after execution"},
	{"profile", PL_OPTION_CHOICE, 0, 0, "none|normal|peak|degraded", "none",
	"latencies and faults of a PSP on a normal, a busy, a bad day; replaces latency_ms, latency_max_ms and fault_rate"},
	{"reversal_ms", PL_OPTION_INT, 0, 600000, NULL, "500",
	"milliseconds from a capture or refund that is reported failed later to that report"},
	{"payout_ms", PL_OPTION_INT, 0, 600000, NULL, "500",
	"milliseconds that a payout or a pending refund is under way, and from a payout to its return"},
	{NULL}
};

/* Latencies come from a mix of ranges. */
typedef struct LatencyRange
{
	double		share;
	int			from_ms;
	int			to_ms;
} LatencyRange;

typedef struct Profile
{
	const char *name;
	double		lost;			/* share of attempts whose answer is lost */
	double		transient;		/* share of attempts refused for now */
	int			lost_after_ms;	/* 0: timeout_ms */
	LatencyRange ranges[3];
} Profile;

static const Profile profiles[] = {
	{"normal", 0, 0.40, 0, {{1, 50, 150}}},
	{"peak", 0.25, 0.45, 5000, {{0.3, 250, 500}, {0.5, 501, 1500}, {0.2, 1501, 2500}}},
	{"degraded", 0.30, 0.40, 0, {{1, 2000, 2990}}}
};

/* What a payment method makes of an authorization. */
typedef struct Method
{
	const char *name;
	PlOutcomeClass authorization;
	const char *code;
	const char *message;
} Method;

static const Method methods[] = {
	{"pm_ok", PL_OUTCOME_SUCCEEDED},
	{"pm_declined", PL_OUTCOME_REFUSED, "card_declined", "the card was declined"},
	{"pm_insufficient_funds", PL_OUTCOME_REFUSED, "insufficient_funds", "the card has insufficient funds"},
	{"pm_expired", PL_OUTCOME_REFUSED, "expired_card", "the card has expired"},
	{"pm_requires_action", PL_OUTCOME_ACTION_REQUIRED},
	{"pm_timeout", PL_OUTCOME_SUCCEEDED},
	{"pm_lost_reply", PL_OUTCOME_SUCCEEDED},
	{"pm_capture_fails", PL_OUTCOME_SUCCEEDED},
	{"pm_refund_fails", PL_OUTCOME_SUCCEEDED},
	{"pm_capture_reversed", PL_OUTCOME_SUCCEEDED},
	{"pm_partial_capture", PL_OUTCOME_SUCCEEDED},
	{"pm_refund_pending", PL_OUTCOME_SUCCEEDED},
	{"pm_refund_reversed", PL_OUTCOME_SUCCEEDED}
};

static bool
is_method(const PlRequest *request, const char *name)
{
	return request->payment_method != NULL && strcmp(request->payment_method, name) == 0;
}

/*
 * A number in [0, 1) for one question about one attempt.
 */
static double
chance(const PlGateway *gateway, const PlRequest *request, const char *question)
{
	char	   *text = psprintf("%s/%d/%s", request->idempotency_key, request->attempt, question);
	uint64		hash = hash_bytes_extended((const unsigned char *) text, strlen(text),
										   (uint64) pl_option_int(gateway, "seed"));

	pfree(text);
	return (hash >> 11) * (1.0 / (UINT64CONST(1) << 53));
}

static const Profile *
find_profile(const PlGateway *gateway)
{
	const char *name = pl_option_text(gateway, "profile");

	for (size_t i = 0; i < lengthof(profiles); i++)
		if (strcmp(profiles[i].name, name) == 0)
			return &profiles[i];
	return NULL;
}

static long
within(int from_ms, int to_ms, double place)
{
	return to_ms > from_ms ? from_ms + (long) ((to_ms - from_ms + 1) * place) : from_ms;
}

static long
latency(const PlGateway *gateway, const PlRequest *request, const Profile *profile)
{
	double		place = chance(gateway, request, "latency");
	double		choice;

	if (profile == NULL)
		return within(pl_option_int(gateway, "latency_ms"),
					  pl_option_int(gateway, "latency_max_ms"), place);

	choice = chance(gateway, request, "range");
	for (size_t i = 0; i < lengthof(profile->ranges) - 1; i++)
	{
		if (choice < profile->ranges[i].share)
			return within(profile->ranges[i].from_ms, profile->ranges[i].to_ms, place);
		choice -= profile->ranges[i].share;
	}
	return within(profile->ranges[lengthof(profile->ranges) - 1].from_ms,
				  profile->ranges[lengthof(profile->ranges) - 1].to_ms, place);
}

/*
 * Does chance strike this attempt?  The last one is spared, so that in the end
 * every payment method does what its name says.
 */
static bool
random_fault(const PlGateway *gateway, const PlRequest *request, const Profile *profile,
			 PlOutcome *outcome, long *delay_ms)
{
	double		draw = chance(gateway, request, "fault");
	double		transient = profile ? profile->transient : pl_option_number(gateway, "fault_rate") / 3;
	double		lost = profile ? profile->lost : pl_option_number(gateway, "fault_rate") * 2 / 3;

	if (request->attempt >= gateway->max_attempts || draw >= transient + lost)
		return false;
	if (draw < transient)
	{
		outcome->class = PL_OUTCOME_RETRY;
		outcome->code = "busy";
		outcome->message = "the sandbox is busy; nothing was executed";
	}
	else
	{
		outcome->class = PL_OUTCOME_UNKNOWN;
		outcome->code = draw < transient + lost / 2 ? "timeout" : "connection_lost";
		outcome->message = "the answer got lost";
		*delay_ms = profile && profile->lost_after_ms ? profile->lost_after_ms : gateway->timeout_ms;
	}
	return true;
}

static void
authorize(const PlRequest *request, PlOutcome *outcome)
{
	outcome->class = PL_OUTCOME_REFUSED;
	outcome->code = "unknown_payment_method";
	outcome->message = "the sandbox does not know this payment method";
	for (size_t i = 0; i < lengthof(methods); i++)
		if (is_method(request, methods[i].name))
		{
			outcome->class = methods[i].authorization;
			outcome->code = methods[i].code;
			outcome->message = methods[i].message;
		}
	if (outcome->class == PL_OUTCOME_ACTION_REQUIRED)
		outcome->next_action = psprintf("{\"type\": \"redirect_to_url\", \"redirect_to_url\": "
										"{\"url\": \"https://sandbox.invalid/3ds/" INT64_FORMAT "\"}}",
										request->payment_id);
}

static void
refuse(PlOutcome *outcome, PlOutcomeClass class, const char *code, const char *message)
{
	outcome->class = class;
	outcome->code = code;
	outcome->message = message;
}

static void
capture(const PlGateway *gateway, const PlRequest *request, PlOutcome *outcome)
{
	if (is_method(request, "pm_capture_fails"))
		refuse(outcome, PL_OUTCOME_REFUSED, "capture_failed", "the capture failed");
	else if (is_method(request, "pm_capture_reversed"))
		outcome->recheck_ms = pl_option_int(gateway, "reversal_ms");
	else if (is_method(request, "pm_partial_capture"))
		outcome->amount = Max(request->amount / 2, 1);
}

static void
refund(const PlGateway *gateway, const PlRequest *request, PlOutcome *outcome)
{
	if (is_method(request, "pm_refund_fails"))
		refuse(outcome, PL_OUTCOME_REFUSED, "refund_failed", "the refund failed");
	else if (is_method(request, "pm_capture_reversed"))
		refuse(outcome, PL_OUTCOME_REFUSED, "not_captured", "there is no captured payment to refund");
	else if (is_method(request, "pm_refund_reversed"))
		outcome->recheck_ms = pl_option_int(gateway, "reversal_ms");
	else if (is_method(request, "pm_refund_pending"))
	{
		outcome->class = PL_OUTCOME_PENDING;
		outcome->recheck_ms = pl_option_int(gateway, "payout_ms");
	}
}

/* The payment method of a payout is the token of the seller's account. */
static void
pay_out(const PlGateway *gateway, const PlRequest *request, PlOutcome *outcome)
{
	if (is_method(request, "ba_declined"))
	{
		refuse(outcome, PL_OUTCOME_REFUSED, "account_closed", "the account does not take payments");
		return;
	}
	outcome->class = PL_OUTCOME_PENDING;
	outcome->recheck_ms = pl_option_int(gateway, "payout_ms");
}

/* What became of an operation that is not over with its answer. */
static void
retrieve(const PlGateway *gateway, const PlRequest *request, PlOutcome *outcome)
{
	if (request->followed == PL_OP_CAPTURE && is_method(request, "pm_capture_reversed"))
		refuse(outcome, PL_OUTCOME_REVERSED, "capture_reversed", "the capture was reversed");
	else if (request->followed == PL_OP_REFUND && is_method(request, "pm_refund_reversed"))
		refuse(outcome, PL_OUTCOME_REVERSED, "refund_returned", "the shopper's bank returned the refund");
	else if (request->followed == PL_OP_PAYOUT && is_method(request, "ba_fails"))
		refuse(outcome, PL_OUTCOME_REFUSED, "payout_failed", "the payout failed");
	else if (request->followed == PL_OP_PAYOUT && is_method(request, "ba_returned"))
	{
		if (strcmp(request->parameters, "{\"questions\": 1}") == 0)
			outcome->recheck_ms = pl_option_int(gateway, "payout_ms");
		else
			refuse(outcome, PL_OUTCOME_REVERSED, "payout_returned", "the seller's bank returned the payout");
	}
}

/* Is this the first attempt of something whose answer is to get lost? */
static bool
loses_answer(const PlRequest *request, PlOutcome *outcome)
{
	if ((request->operation != PL_OP_AUTHORIZE && request->operation != PL_OP_PAYOUT) || request->attempt > 1)
		return false;
	if (is_method(request, "pm_timeout") || is_method(request, "ba_timeout"))
		outcome->code = "timeout";
	else if (is_method(request, "pm_lost_reply") || is_method(request, "ba_lost_reply"))
		outcome->code = "connection_lost";
	else
		return false;
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->message = "the answer got lost";
	return true;
}

/*
 * The outcome of a request, and after how many ms it is known.
 */
static long
sandbox_perform(const PlGateway *gateway, const PlRequest *request, PlOutcome *outcome)
{
	const Profile *profile = find_profile(gateway);
	long		delay_ms = latency(gateway, request, profile);

	if (loses_answer(request, outcome))
		return gateway->timeout_ms;
	if (random_fault(gateway, request, profile, outcome, &delay_ms))
		return delay_ms;

	outcome->class = PL_OUTCOME_SUCCEEDED;
	switch (request->operation)
	{
		case PL_OP_AUTHORIZE:
			authorize(request, outcome);
			break;
		case PL_OP_CAPTURE:
			capture(gateway, request, outcome);
			break;
		case PL_OP_RETRIEVE:
			retrieve(gateway, request, outcome);
			break;
		case PL_OP_REFUND:
			refund(gateway, request, outcome);
			break;
		case PL_OP_PAYOUT:
			pay_out(gateway, request, outcome);
			break;
		case PL_OP_CONFIRM:
		case PL_OP_CANCEL:
			break;
	}
	outcome->psp_reference = psprintf("sbx_" INT64_FORMAT, request->payment_id);
	return delay_ms;
}

const PlAdapter pl_sandbox_adapter = {
	.name = "sandbox",
	.options = sandbox_options,
	.key_window = 24 * 3600,
	.pays_out = true,
	.perform = sandbox_perform
};
