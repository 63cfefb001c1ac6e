/*
 * src/psp/call.c
 *		From a leased call to its outcome: sending, and what came back.
 *
 * Outside of transactions.  What is shared by all adapters is decided here:
 * a request that was not sent was not executed, one that was sent and not
 * answered may have been.
 */
#include "postgres.h"

#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "psp/psp_internal.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#define MAX_CODE 100
#define MAX_REFERENCE 255

static void
reset_outcome(PlOutcome *outcome)
{
	memset(outcome, 0, sizeof(PlOutcome));
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->retry_after_ms = -1;
	outcome->recheck_ms = -1;
}

/*
 * Set the outcome of a call by hand: what no adapter has a say in.  Strings
 * are copied and redacted.
 */
void
pl_call_set_outcome(PlCall *call, PlOutcomeClass class, const char *code, const char *message)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(call->context);

	reset_outcome(&call->outcome);
	call->outcome.class = class;
	call->outcome.code = pstrdup(code);
	call->outcome.message = pl_redact(message);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * May a PSP's identifier be stored: short, printable, of one word, neither a
 * card number nor one of our secrets?  It becomes part of a URL, where points
 * alone lead elsewhere.
 */
bool
pl_is_reference(const char *gateway, const char *reference)
{
	if (strspn(reference, ".") == strlen(reference) || strlen(reference) > MAX_REFERENCE)
		return false;
	for (const char *p = reference; *p; p++)
		if ((unsigned char) *p <= 0x20 || (unsigned char) *p >= 0x7f)
			return false;
	return !pl_holds_card_number(reference) &&
		strcmp(pl_hide_secrets(gateway, reference), reference) == 0;
}

/*
 * Can it be kept as jsonb?  A number may be larger than numeric can be, or than
 * anybody wants to read, or a card number once it is written out.
 */
static bool
is_jsonb(const char *json)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = true;

	PG_TRY();
	{
		Jsonb	   *stored = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));

		result = pl_jsonb_is_printable(stored) && !pl_jsonb_holds_card_number(stored);
	}
	PG_CATCH();
	{
		/* it holds no lock and no resource, so there is nothing to roll back */
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_PROGRAM_LIMIT_EXCEEDED)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		result = false;
	}
	PG_END_TRY();
	return result;
}

/*
 * Make what an adapter read of a reply or an event fit for rows and events:
 * texts are copied, valid, of bounded length, and hold neither a secret of the
 * gateway nor card data.  References are the caller's business.
 */
void
pl_clean_outcome(const char *gateway, PlOutcome *outcome)
{
	/* secrets first: what is cut off in the middle of one would not be found */
	char	   *code = pl_redact(pl_hide_secrets(gateway, outcome->code));
	char	   *plain = outcome->next_action ? pstrdup(outcome->next_action) : NULL;
	char	   *action;

	/* jsonb undoes escapes, and the secret would be there */
	if (plain != NULL)
		pl_undo_escapes(plain);
	action = pl_hide_secrets(gateway, plain);
	if (code != NULL)
		pl_clip(code, MAX_CODE);
	outcome->code = code;
	outcome->message = pl_redact(pl_hide_secrets(gateway, outcome->message));
	if (action != NULL)
		pl_mask_card_data_in_json(action);
	if (action != NULL && (strlen(action) > PL_MAX_NEXT_ACTION || !is_jsonb(action)))
	{
		outcome->message = strlen(action) > PL_MAX_NEXT_ACTION ? "the next action is too large to be kept"
			: "the next action cannot be kept as jsonb";
		action = NULL;
	}
	outcome->next_action = action;
}

/*
 * The identifier of the PSP's object.  What was done to an object that has no
 * usable one cannot be told.
 */
static void
take_reference(PlCall *call, const char *reference)
{
	PlOutcome  *outcome = &call->outcome;

	outcome->psp_reference = NULL;
	if (reference == NULL)
		return;
	if (pl_is_reference(call->gateway->name, reference))
		outcome->psp_reference = pstrdup(reference);
	else if (outcome->class != PL_OUTCOME_REFUSED && outcome->class != PL_OUTCOME_RETRY)
	{
		outcome->class = PL_OUTCOME_UNKNOWN;
		outcome->code = "reference_refused";
		outcome->message = "the PSP's identifier is not one word, or holds card data or a secret";
	}
}

/*
 * Take over what an adapter said, as it may go into rows and events, into the
 * call's memory.
 */
static void
take_outcome(PlCall *call, const PlOutcome *said)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(call->context);

	call->outcome = *said;
	pl_clean_outcome(call->gateway->name, &call->outcome);
	take_reference(call, said->psp_reference);
	MemoryContextSwitchTo(oldcontext);
}

/* Memory for adapters while they look at one reply. */
static MemoryContext
scratch_context(void)
{
	static MemoryContext scratch = NULL;

	if (scratch == NULL)
		scratch = AllocSetContextCreate(TopMemoryContext, "payledger reply",
										ALLOCSET_DEFAULT_SIZES);
	return scratch;
}

/*
 * Run the adapter's code; an error in it, from an odd reply say, leaves the
 * outcome unknown.
 */
static void
interpret(PlCall *call, PlHttpReply *reply)
{
	MemoryContext scratch = scratch_context();
	MemoryContext oldcontext = MemoryContextSwitchTo(scratch);
	PlOutcome	outcome;

	PG_TRY();
	{
		reset_outcome(&outcome);
		if (reply == NULL)
			call->ready_at = pl_monotonic_ms() +
				call->gateway->adapter->perform(call->gateway, &call->request, &outcome);
		else
			call->gateway->adapter->interpret(&call->request, reply, &outcome);
		take_outcome(call, &outcome);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(scratch);
		error = CopyErrorData();
		FlushErrorState();
		pl_call_set_outcome(call, PL_OUTCOME_UNKNOWN, "reply_not_understood", error->message);
		call->ready_at = pl_monotonic_ms();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	MemoryContextReset(scratch);
}

/*
 * Send the request of a call; pl_http_next() hands the call back.  Raises an
 * error if nothing was started.
 */
void
pl_call_send(PlCall *call)
{
	MemoryContext oldcontext = MemoryContextSwitchTo(call->context);
	char	   *problem = pl_gateway_problem(call->gateway);

	/* what is leased is usable; but a key must not leave by an oversight */
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_internal("%s", problem)));

	if (call->build != NULL)
		call->build(call);
	pl_http_start(pl_gateway_peer(call->gateway), &call->http,
				  call->gateway->adapter->headers(call->gateway, &call->request, &call->http), call);
	MemoryContextSwitchTo(oldcontext);
}

/*
 * Set the outcome of a call from the reply, or from why there is none.
 */
void
pl_call_interpret(PlCall *call, PlHttpReply *reply)
{
	reply->in_doubt = call->in_doubt;
	reply->queried = call->queried;
	if (reply->received)
	{
		interpret(call, reply);
		call->outcome.http_status = reply->status;
	}
	else
	{
		call->unreached = !reply->sent;
		/* a question that went unanswered leaves all as it was */
		pl_call_set_outcome(call, reply->sent || call->queried ? PL_OUTCOME_UNKNOWN : PL_OUTCOME_RETRY,
							reply->fault, reply->fault_detail);
	}
}

/*
 * Embedded adapter: set the outcome of a call and when it is known.
 */
void
pl_call_perform(PlCall *call)
{
	interpret(call, NULL);
}
