/*
 * src/adapters/stripe/replies.c
 *		What Stripe's replies mean.
 */
#include "postgres.h"

#include "adapters/stripe/stripe.h"
#include "command/command.h"
#include "document/document.h"
#include "http/http.h"

#define REQUIRES_CONFIRMATION "requires_confirmation"

/* pauses before something that is not decided is asked for again, ms */
#define FIRST_RECHECK_MS (60 * 1000)
#define LONGEST_RECHECK_MS (3600 * 1000)

/*
 * The scalar of that name in the object at a place in the document: prefix is
 * "" or "error.payment_intent.", say.
 */
const char *
pl_stripe_field(const PlDocument *document, const char *prefix, const char *name)
{
	return pl_document_text(document, psprintf("%s%s", prefix, name));
}

/*
 * Is the question about an intent that waits for us to confirm it, as the one
 * before found out?
 */
bool
pl_stripe_confirms(const PlRequest *request)
{
	return request->operation == PL_OP_RETRIEVE &&
		pl_is_text(pl_document_text(pl_stripe_parameters(request), "code"), REQUIRES_CONFIRMATION);
}

/* The pause before it is asked again: it doubles with each question. */
static long
recheck_after(const PlRequest *request)
{
	const char *asked = pl_document_text(pl_stripe_parameters(request), "questions");

	return Min((long) FIRST_RECHECK_MS << Min(asked ? atoi(asked) : 0, 16), LONGEST_RECHECK_MS);
}

/* Has the PaymentIntent the mark that our capture leaves? */
static bool
has_capture_mark(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	return pl_stripe_field(document, prefix,
				 psprintf("metadata." STRIPE_CAPTURE_MARK INT64_FORMAT, request->psp_request_id)) != NULL;
}

/*
 * Is the object at a place in the document the one that our mark of that name
 * stands for?  Replies can be mixed up on their way to us, and another's says
 * nothing about this request.
 */
static bool
is_ours(const PlDocument *document, const char *prefix, const char *mark, int64 id)
{
	return pl_is_text(pl_stripe_field(document, prefix, psprintf("metadata.%s", mark)), psprintf(INT64_FORMAT, id));
}

/*
 * Was the object made by this very request?  Another server may have the same
 * ids, so among objects of which the request itself would have made one, its
 * key decides.
 */
static bool
was_made_by(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	return pl_is_text(pl_stripe_field(document, prefix, "metadata." STRIPE_REQUEST_MARK), request->idempotency_key);
}

static void
refuse_another(PlOutcome *outcome)
{
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->code = "another_object";
	outcome->message = "the reply is about an object that is not the request's";
	outcome->psp_reference = NULL;
}

/* The same of a PaymentIntent, which may be known by its id. */
static bool
is_our_intent(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	if (request->operation == PL_OP_AUTHORIZE && !was_made_by(request, document, prefix))
		return false;
	return is_ours(document, prefix, STRIPE_PAYMENT_MARK, request->payment_id) &&
		(request->psp_reference == NULL || pl_is_text(pl_stripe_field(document, prefix, "id"), request->psp_reference));
}

/* A question about a refund or transfer names it, so its answer has that id. */
static bool
was_asked_about(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	return request->operation != PL_OP_RETRIEVE ||
		pl_is_text(pl_stripe_field(document, prefix, "id"), request->psp_reference);
}

/* ---- amounts ---- */

/* Has the object this amount, in Stripe's unit, and the request's currency? */
static bool
has_amount(const PlRequest *request, const PlDocument *document, const char *prefix, const char *name, int64 amount)
{
	const char *currency = pl_stripe_field(document, prefix, "currency");
	int64		given;

	return currency != NULL && pg_strcasecmp(currency, request->currency) == 0 &&
		pl_document_int64(document, psprintf("%s%s", prefix, name), &given) && given == amount;
}

/* Is the PaymentIntent one of what the shopper is to pay, all of which can still be captured if any can? */
static bool
is_authorized_as_asked(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	int64		amount = pl_stripe_amount(request);

	return has_amount(request, document, prefix, "amount", amount) &&
		(!pl_is_text(pl_stripe_field(document, prefix, "status"), "requires_capture") ||
		 has_amount(request, document, prefix, "amount_capturable", amount));
}

/*
 * Has the PaymentIntent received what our mark says, which is what we asked
 * for?  Other captures may have been received before.
 */
static bool
is_captured_as_asked(const PlRequest *request, const PlDocument *document, const char *prefix)
{
	char	   *mark = psprintf("metadata." STRIPE_CAPTURE_MARK INT64_FORMAT, request->psp_request_id);
	int64		amount;
	int64		received;

	return pl_is_text(pl_stripe_field(document, prefix, mark), psprintf(INT64_FORMAT, request->amount)) &&
		pl_document_int64(document, psprintf("%samount", prefix), &amount) &&
		has_amount(request, document, prefix, "amount", amount) &&
		pl_document_int64(document, psprintf("%samount_received", prefix), &received) &&
		received >= pl_stripe_amount(request) && received <= amount;
}

/*
 * What was done with another amount than we asked for is for an operator to
 * look at.  Only of a PaymentIntent is the id kept, which the request is asked
 * about by.
 */
static void
refuse_amount(const PlRequest *request, PlOutcome *outcome)
{
	if (request->operation == PL_OP_REFUND || request->operation == PL_OP_PAYOUT)
		outcome->psp_reference = NULL;
	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->code = "unexpected_amount";
	outcome->message = "the reply is about another amount or currency than the request";
	outcome->next_action = NULL;
}

/* ---- PaymentIntents, refunds, transfers ---- */

/* Why the last attempt to pay failed. */
static void
failed_payment(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *decline_code = pl_stripe_field(document, prefix, "last_payment_error.decline_code");

	outcome->class = PL_OUTCOME_REFUSED;
	outcome->code = decline_code ? decline_code
		: pl_stripe_field(document, prefix, "last_payment_error.code");
	if (outcome->code == NULL)
		outcome->code = "payment_failed";
	outcome->message = pl_stripe_field(document, prefix, "last_payment_error.message");
}

/*
 * What a PaymentIntent's status says about the authorization; UNKNOWN stays as
 * it is.
 */
void
pl_stripe_read_authorization(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");

	outcome->class = status ? pl_classify_state(&pl_stripe_adapter, "payment_intent.status", status)
		: PL_OUTCOME_UNKNOWN;
	outcome->code = status;
	if (pl_is_text(status, "requires_payment_method"))
		failed_payment(document, prefix, outcome);
	else if (outcome->class == PL_OUTCOME_ACTION_REQUIRED)
		outcome->next_action = pl_document_raw(document, psprintf("%snext_action", prefix));
}

/* The same in a reply: what is not decided is asked for again, or confirmed. */
static void
interpret_authorization(const PlRequest *request, const PlDocument *document, const char *prefix,
						PlOutcome *outcome)
{
	pl_stripe_read_authorization(document, prefix, outcome);
	if (outcome->class == PL_OUTCOME_SUCCEEDED && !is_authorized_as_asked(request, document, prefix))
		refuse_amount(request, outcome);
	if (outcome->class == PL_OUTCOME_PENDING)
		outcome->recheck_ms = pl_is_text(outcome->code, REQUIRES_CONFIRMATION) && !pl_stripe_confirms(request)
			? 0 : recheck_after(request);
}

/* A PaymentIntent with the mark of our capture. */
static void
interpret_capture(const PlRequest *request, const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	if (is_captured_as_asked(request, document, prefix))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else
		refuse_amount(request, outcome);
}

/*
 * A PaymentIntent, as the reply to the request or to a question about it.
 * What it does not say for certain stays UNKNOWN with its status as code.
 */
static void
interpret_intent(const PlRequest *request, const PlHttpReply *reply,
				 const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");

	outcome->psp_reference = pl_stripe_field(document, prefix, "id");
	outcome->code = status;
	if (status == NULL || outcome->psp_reference == NULL)
	{
		outcome->code = "unexpected_reply";
		return;
	}
	if (!is_our_intent(request, document, prefix))
	{
		refuse_another(outcome);
		return;
	}
	switch (request->operation)
	{
		case PL_OP_AUTHORIZE:
		case PL_OP_CONFIRM:
			interpret_authorization(request, document, prefix, outcome);
			break;
		case PL_OP_CAPTURE:
			if (has_capture_mark(request, document, prefix))
				interpret_capture(request, document, prefix, outcome);
			else if (pl_is_text(status, "canceled"))
				outcome->class = PL_OUTCOME_REFUSED;
			break;
		case PL_OP_CANCEL:
			/* after a partial capture the rest is released and it succeeded */
			if (pl_is_text(status, "canceled") || (!reply->queried && pl_is_text(status, "succeeded")))
				outcome->class = PL_OUTCOME_SUCCEEDED;
			break;
		case PL_OP_RETRIEVE:
			if (request->followed == PL_OP_AUTHORIZE || request->followed == PL_OP_CONFIRM)
				interpret_authorization(request, document, prefix, outcome);
			else
				outcome->class = PL_OUTCOME_SUCCEEDED;
			break;
		case PL_OP_REFUND:
		case PL_OP_PAYOUT:
			outcome->code = "unexpected_reply";
			break;
	}
}

/*
 * What a refund says.  One that failed after it was taken from our balance
 * came back with a balance transaction of its own.
 */
void
pl_stripe_read_refund(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *status = pl_stripe_field(document, prefix, "status");
	const char *reason = pl_stripe_field(document, prefix, "failure_reason");

	outcome->psp_reference = pl_stripe_field(document, prefix, "id");
	outcome->code = status;
	if (status == NULL || outcome->psp_reference == NULL)
	{
		outcome->code = "unexpected_reply";
		return;
	}
	outcome->class = pl_classify_state(&pl_stripe_adapter, "refund.status", status);
	if (outcome->class != PL_OUTCOME_REFUSED)
		return;
	if (pl_stripe_field(document, prefix, "failure_balance_transaction") != NULL)
		outcome->class = PL_OUTCOME_REVERSED;
	if (reason != NULL)
		outcome->code = reason;
}

/*
 * What a transfer says: it is done at once.  One that was taken back in part
 * is left to an operator.
 */
void
pl_stripe_read_transfer(const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *reversed = pl_stripe_field(document, prefix, "amount_reversed");

	outcome->psp_reference = pl_stripe_field(document, prefix, "id");
	if (outcome->psp_reference == NULL)
		outcome->code = "unexpected_reply";
	else if (reversed == NULL || pl_is_text(reversed, "0"))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else if (pl_is_text(pl_stripe_field(document, prefix, "reversed"), "true"))
	{
		outcome->class = PL_OUTCOME_REVERSED;
		outcome->code = "transfer_reversed";
	}
	else
		outcome->code = "transfer_reversed_in_part";
}

static void
interpret_refund(const PlRequest *request, const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	const char *of_intent = pl_stripe_field(document, prefix, "payment_intent");

	if (!is_ours(document, prefix, STRIPE_REFUND_MARK, request->target) || !was_asked_about(request, document, prefix) ||
		(request->operation == PL_OP_REFUND && of_intent != NULL && !pl_is_text(of_intent, request->psp_reference)) ||
		(request->operation == PL_OP_REFUND && !was_made_by(request, document, prefix)))
	{
		refuse_another(outcome);
		return;
	}
	pl_stripe_read_refund(document, prefix, outcome);
	if (outcome->class != PL_OUTCOME_REFUSED && !has_amount(request, document, prefix, "amount", pl_stripe_amount(request)))
		refuse_amount(request, outcome);
	if (outcome->class == PL_OUTCOME_PENDING)
		outcome->recheck_ms = recheck_after(request);
}

static void
interpret_transfer(const PlRequest *request, const PlDocument *document, const char *prefix, PlOutcome *outcome)
{
	if (!is_ours(document, prefix, STRIPE_PAYOUT_MARK, request->target) || !was_asked_about(request, document, prefix) ||
		!pl_is_text(pl_stripe_field(document, prefix, "destination"), request->payment_method) ||
		(request->operation == PL_OP_PAYOUT && !was_made_by(request, document, prefix)))
	{
		refuse_another(outcome);
		return;
	}
	pl_stripe_read_transfer(document, prefix, outcome);
	if (!has_amount(request, document, prefix, "amount", pl_stripe_amount(request)))
		refuse_amount(request, outcome);
}

/*
 * The refunds of a PaymentIntent, or the transfers of a payout's group: ours
 * has our mark.  None proves nothing: it may come yet.
 */
static void
interpret_list(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	bool		pays_out = request->operation == PL_OP_PAYOUT;
	const char *mark = pays_out ? STRIPE_PAYOUT_MARK : STRIPE_REFUND_MARK;

	outcome->code = "not_found_yet";
	for (int i = 0; i < STRIPE_LISTED; i++)
	{
		char	   *prefix = psprintf("data.%d.", i);

		if (pl_stripe_field(document, prefix, "id") == NULL)
			break;
		if (!is_ours(document, prefix, mark, request->target) || !was_made_by(request, document, prefix))
			continue;
		if (pays_out)
			interpret_transfer(request, document, prefix, outcome);
		else
			interpret_refund(request, document, prefix, outcome);
		break;
	}
}

/*
 * "unexpected state": what the intent's status says about this request.
 * Returns false if it says no more than the error itself.
 */
static bool
interpret_unexpected_state(const PlRequest *request, const PlDocument *document, PlOutcome *outcome)
{
	const char *prefix = "error.payment_intent.";
	const char *status = pl_stripe_field(document, prefix, "status");

	if (request->operation == PL_OP_CAPTURE && has_capture_mark(request, document, prefix))
		interpret_capture(request, document, prefix, outcome);
	else if (request->operation == PL_OP_CAPTURE && pl_is_text(status, "succeeded"))
		outcome->class = PL_OUTCOME_UNKNOWN;	/* captured, but not by us */
	else if (request->operation == PL_OP_CANCEL && pl_is_text(status, "canceled"))
		outcome->class = PL_OUTCOME_SUCCEEDED;
	else
		return false;
	return true;
}

static void
interpret_error(const PlRequest *request, const PlHttpReply *reply,
				const PlDocument *document, PlOutcome *outcome)
{
	const char *type = pl_document_text(document, "error.type");
	const char *code = pl_document_text(document, "error.code");
	const char *decline_code = pl_document_text(document, "error.decline_code");
	char	   *should_retry = pl_http_header(reply, "Stripe-Should-Retry");
	char	   *replayed = pl_http_header(reply, "Idempotent-Replayed");

	outcome->code = decline_code ? decline_code : code ? code : type;
	if (outcome->code == NULL)
		outcome->code = psprintf("http_%d", reply->status);
	outcome->message = pl_document_text(document, "error.message");
	/* it will be the same each time, which an operator wants to know */
	if (outcome->message != NULL && pl_is_text(replayed, "true"))
		outcome->message = psprintf("stored under the key: %s", outcome->message);
	outcome->psp_reference = pl_document_text(document, "error.payment_intent.id");
	if (pl_document_raw(document, "error.payment_intent") != NULL && !is_our_intent(request, document, "error.payment_intent."))
	{
		refuse_another(outcome);
		return;
	}

	if (pl_is_text(code, "payment_intent_unexpected_state") &&
		interpret_unexpected_state(request, document, outcome))
		return;
	outcome->class = pl_classify_error(&pl_stripe_adapter, reply, type, code);

	/*
	 * Stripe's own word on whether another attempt can help wins, but for a
	 * refused API key: it cannot know that an operator will put in another.
	 */
	if (outcome->class == PL_OUTCOME_RETRY && pl_is_text(should_retry, "false") &&
		reply->status != 401 && reply->status != 403)
		outcome->class = PL_OUTCOME_REFUSED;
	else if (outcome->class == PL_OUTCOME_REFUSED && pl_is_text(should_retry, "true"))
		outcome->class = reply->in_doubt ? PL_OUTCOME_UNKNOWN : PL_OUTCOME_RETRY;
}

/*
 * The answer to a search by our mark.  Search lags behind, so finding nothing
 * proves nothing.
 */
static void
interpret_search(const PlRequest *request, const PlHttpReply *reply,
				 const PlDocument *document, PlOutcome *outcome)
{
	if (pl_document_text(document, "data.0.id") == NULL)
		outcome->code = "not_found_yet";
	else
		interpret_intent(request, reply, document, "data.0.", outcome);
}

/* An error about a question says nothing about the request. */
static bool
is_question(const PlRequest *request, const PlHttpReply *reply)
{
	return reply->queried || request->operation == PL_OP_CONFIRM ||
		(request->operation == PL_OP_RETRIEVE && !pl_stripe_confirms(request));
}

/*
 * What a whole reply means.
 */
void
pl_stripe_interpret(const PlRequest *request, const PlHttpReply *reply, PlOutcome *outcome)
{
	const char *problem;
	PlDocument *document = pl_document(reply->body, reply->body_length, &problem);

	outcome->class = PL_OUTCOME_UNKNOWN;
	outcome->retry_after_ms = pl_http_retry_after_ms(reply);
	if (document == NULL)
	{
		outcome->code = reply->status >= 400 ? psprintf("http_%d", reply->status) : "garbage_reply";
		outcome->message = psprintf("reply of status %d is %s", reply->status, problem);
	}
	else if (reply->status >= 200 && reply->status < 300)
	{
		const char *object = pl_document_text(document, "object");

		if (pl_is_text(object, "search_result"))
			interpret_search(request, reply, document, outcome);
		else if (pl_is_text(object, "list"))
			interpret_list(request, document, outcome);
		else if (pl_is_text(object, "refund"))
			interpret_refund(request, document, "", outcome);
		else if (pl_is_text(object, "transfer"))
			interpret_transfer(request, document, "", outcome);
		else
			interpret_intent(request, reply, document, "", outcome);
	}
	else
	{
		interpret_error(request, reply, document, outcome);
		if (is_question(request, reply) && outcome->class == PL_OUTCOME_REFUSED)
			outcome->class = PL_OUTCOME_UNKNOWN;
	}
}
