/*-------------------------------------------------------------------------
 *
 * intents.c
 *		Creating, confirming and retrieving payment intents.
 *
 * An operation checks its parameters first; from the moment it sets
 * req->executed its reply is stored under the idempotency key.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define MISSING_METHOD \
	"You cannot confirm this PaymentIntent because it's missing a payment " \
	"method. You can either update the PaymentIntent with a payment method " \
	"and then confirm it again, or confirm it again directly with a payment " \
	"method or ConfirmationToken."

static const char *const create_params[] = {
	"allowed_payment_method_types", "amount", "amount_details",
	"application_fee_amount", "automatic_payment_methods", "capture_method",
	"confirm", "confirmation_method", "confirmation_token", "currency",
	"customer", "customer_account", "description", "error_on_requires_action",
	"excluded_payment_method_types", "expand", "hooks", "mandate",
	"mandate_data", "metadata", "off_session", "on_behalf_of",
	"payment_details", "payment_method", "payment_method_configuration",
	"payment_method_data", "payment_method_options", "payment_method_types",
	"radar_options", "receipt_email", "return_url", "setup_future_usage",
	"shipping", "statement_descriptor", "statement_descriptor_suffix",
	"transfer_data", "transfer_group", "use_stripe_sdk", NULL
};

static const char *const confirm_params[] = {
	"allowed_payment_method_types", "amount_details", "amount_to_confirm",
	"capture_method", "client_secret", "confirmation_token",
	"error_on_requires_action", "excluded_payment_method_types", "expand",
	"hooks", "mandate", "mandate_data", "off_session", "payment_details",
	"payment_method", "payment_method_data", "payment_method_options",
	"payment_method_types", "radar_options", "receipt_email", "return_url",
	"setup_future_usage", "shipping", "use_stripe_sdk", NULL
};

static const char *const capture_methods[] = {
	"automatic", "automatic_async", "manual", NULL
};
static const char *const confirmation_methods[] = {
	"automatic", "manual", NULL
};
static const char *const future_usages[] = {
	"off_session", "on_session", NULL
};
static const char *const redirect_choices[] = {"always", "never", NULL};
static const char *const multicapture_choices[] = {
	"if_available", "never", NULL
};

/* Parameters that only come back in the object. */
static const char *const echo_params[ECHO_FIELDS] = {
	"customer",
	"description",
	"on_behalf_of",
	"receipt_email",
	"return_url",
	"setup_future_usage",
	"statement_descriptor",
	"statement_descriptor_suffix",
	"transfer_data[destination]",
	"transfer_group",
	"automatic_payment_methods[allow_redirects]",
};

/* Parameters of create and confirm, read and checked. */
typedef struct Wishes
{
	int64_t		amount;
	char		currency[4];
	int64_t		application_fee;
	int64_t		transfer_amount;
	const char *capture_method;
	const char *confirmation_method;
	const char *request_multicapture;
	bool		automatic_methods;
	bool		confirm;
	bool		off_session;
	bool		error_on_action;
	const char *payment_method; /* as sent, NULL if not */
	const Card *card;
} Wishes;

/* Replies with the intent. */
void
intent_reply(Request *req, const Intent *intent)
{
	StrBuf		buf = {0};

	render_intent(&buf, NULL, intent,
				  form_expands(&req->params, "latest_charge"));
	reply_json(req, MHD_HTTP_OK, &buf);
}

/* Returns the intent named in the path, or replies that there is none. */
Intent *
intent_required(Request *req)
{
	Intent	   *intent = store_intent(req->object);

	if (intent == NULL)
		reply_missing(req, "payment_intent", "intent", req->object);
	return intent;
}

/* Reads off_session, which is a boolean or one of two words. */
static bool
read_off_session(Request *req, bool *off_session)
{
	const char *text = form_get(&req->params, "off_session");

	if (text != NULL &&
		(strcmp(text, "one_off") == 0 || strcmp(text, "recurring") == 0))
	{
		*off_session = true;
		return true;
	}
	return param_boolean(req, "off_session", off_session);
}

/* Finds the card of payment_method; intent is NULL before it exists. */
static bool
read_payment_method(Request *req, const Intent *intent, Wishes *wishes)
{
	const char *method = form_get(&req->params, "payment_method");

	wishes->payment_method = method;
	if (method == NULL)
		return true;
	wishes->card = card_find(method);
	if (wishes->card == NULL && intent != NULL)
	{
		/* the ids we minted for this intent */
		if (strcmp(method, intent->payment_method) == 0)
			wishes->card = intent->card;
		else if (strcmp(method, intent->failed_method) == 0)
			wishes->card = intent->failed_card;
	}
	if (wishes->card != NULL)
		return true;
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
				"resource_missing", "payment_method",
				"No such PaymentMethod: '%.100s'", method);
	return false;
}

/* Reads what create and confirm have in common. */
static bool
read_confirmation(Request *req, const Intent *intent, Wishes *wishes)
{
	const char *unused;

	return read_off_session(req, &wishes->off_session) &&
		param_boolean(req, "error_on_requires_action",
					  &wishes->error_on_action) &&
		param_choice(req, "capture_method", capture_methods,
					 &wishes->capture_method) &&
		param_choice(req, "setup_future_usage", future_usages, &unused) &&
		param_choice(req, "payment_method_options[card][request_multicapture]",
					 multicapture_choices, &wishes->request_multicapture) &&
		read_payment_method(req, intent, wishes);
}

/* Refuses what only makes sense together with confirm=true. */
static bool
check_confirm_only(Request *req, const Wishes *wishes)
{
	static const char *const names[] = {
		"error_on_requires_action", "off_session", "return_url"
	};

	for (size_t i = 0; i < lengthof(names); i++)
		if (!wishes->confirm && form_get(&req->params, names[i]) != NULL)
		{
			reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
						NULL, names[i],
						"The parameter `%s` can only be used with "
						"`confirm=true`.", names[i]);
			return false;
		}
	return true;
}

/* Reads an optional amount that must not be negative. */
static bool
read_part(Request *req, const char *name, int64_t most, int64_t *amount)
{
	bool		given;

	if (!param_integer(req, name, &given, amount))
		return false;
	if (!given || (*amount >= 0 && *amount <= most))
		return true;
	reply_error(req, MHD_HTTP_BAD_REQUEST, "invalid_request_error",
				"parameter_invalid_integer", name,
				"This value must be between 0 and %lld.", (long long) most);
	return false;
}

/* Reads the parameters of create. */
static bool
read_create(Request *req, Wishes *wishes)
{
	const char *unused;

	return param_currency(req, wishes->currency) &&
		param_charge_amount(req, wishes->currency, &wishes->amount) &&
		read_part(req, "application_fee_amount", wishes->amount,
				  &wishes->application_fee) &&
		read_part(req, "transfer_data[amount]", wishes->amount,
				  &wishes->transfer_amount) &&
		param_boolean(req, "confirm", &wishes->confirm) &&
		param_choice(req, "confirmation_method", confirmation_methods,
					 &wishes->confirmation_method) &&
		param_boolean(req, "automatic_payment_methods[enabled]",
					  &wishes->automatic_methods) &&
		param_choice(req, echo_params[ECHO_ALLOW_REDIRECTS],
					 redirect_choices, &unused) &&
		check_confirm_only(req, wishes) &&
		read_confirmation(req, NULL, wishes) &&
		param_metadata(req, NULL);
}

/* Copies the parameters that only come back. */
static void
keep_echo(Request *req, Intent *intent)
{
	for (size_t i = 0; i < ECHO_FIELDS; i++)
	{
		const char *value = form_get(&req->params, echo_params[i]);

		if (value == NULL)
			continue;
		free(intent->echo[i]);
		intent->echo[i] = value[0] == '\0' ? NULL : xstrdup(value);
	}
}

/* Gives the intent a payment method of its own, as Stripe does. */
static void
attach_method(Intent *intent, const Wishes *wishes)
{
	if (wishes->payment_method == NULL ||
		strcmp(wishes->payment_method, intent->payment_method) == 0)
		return;
	intent->card = wishes->card;
	intent->authenticated = false;
	make_id(intent->payment_method, "pm_1", 23);
}

/* POST /v1/payment_intents */
void
intent_create(Request *req)
{
	Wishes		wishes = {
		.application_fee = -1,
		.transfer_amount = -1,
		.capture_method = "automatic_async",
		.confirmation_method = "automatic",
	};
	Intent	   *intent;

	if (!params_known(req, create_params) || !read_create(req, &wishes))
		return;
	req->executed = true;

	intent = store_new_intent();
	intent->amount = wishes.amount;
	memcpy(intent->currency, wishes.currency, sizeof(intent->currency));
	intent->application_fee = wishes.application_fee;
	intent->transfer_amount = wishes.transfer_amount;
	intent->capture_method = wishes.capture_method;
	intent->confirmation_method = wishes.confirmation_method;
	intent->request_multicapture = wishes.request_multicapture;
	param_metadata(req, &intent->metadata);
	keep_echo(req, intent);
	if (!wishes.automatic_methods)
	{
		free(intent->echo[ECHO_ALLOW_REDIRECTS]);
		intent->echo[ECHO_ALLOW_REDIRECTS] = NULL;
	}
	else if (intent->echo[ECHO_ALLOW_REDIRECTS] == NULL)
		intent->echo[ECHO_ALLOW_REDIRECTS] = xstrdup("always");
	attach_method(intent, &wishes);
	intent->status = intent->card == NULL ? REQUIRES_PAYMENT_METHOD :
		REQUIRES_CONFIRMATION;
	history_add(&intent->history, "create", intent->amount, req->key,
				req->id);
	event_intent(req, "payment_intent.created", intent);

	if (!wishes.confirm)
		intent_reply(req, intent);
	else if (intent->card == NULL)
		reply_intent_error(req, intent, "payment_intent_unexpected_state",
						   NULL, MISSING_METHOD);
	else
		intent_attempt(req, intent,
					   wishes.off_session || wishes.error_on_action);
}

/* Refuses to confirm an intent that is past it. */
static bool
check_confirmable(Request *req, const Intent *intent)
{
	const char *status = intent_status_names[intent->status];

	if (intent->status == SUCCEEDED)
		reply_intent_error(req, intent, "payment_intent_unexpected_state",
						   NULL, "You cannot confirm this PaymentIntent "
						   "because it has already succeeded after being "
						   "previously confirmed.");
	else if (intent->status > REQUIRES_ACTION)
		reply_intent_error(req, intent, "payment_intent_unexpected_state",
						   NULL, "This PaymentIntent could not be confirmed "
						   "because it has a status of %s. Only a "
						   "PaymentIntent with one of the following statuses "
						   "may be confirmed: requires_payment_method, "
						   "requires_confirmation, requires_action.", status);
	else
		return true;
	return false;
}

/* POST /v1/payment_intents/{id}/confirm */
void
intent_confirm(Request *req)
{
	Wishes		wishes = {0};
	Intent	   *intent = intent_required(req);

	if (intent == NULL || !params_known(req, confirm_params) ||
		!read_confirmation(req, intent, &wishes))
		return;
	req->executed = true;

	if (!check_confirmable(req, intent))
		return;
	if (wishes.capture_method != NULL)
		intent->capture_method = wishes.capture_method;
	if (wishes.request_multicapture != NULL)
		intent->request_multicapture = wishes.request_multicapture;
	keep_echo(req, intent);
	attach_method(intent, &wishes);
	if (intent->card == NULL)
		reply_intent_error(req, intent, "payment_intent_unexpected_state",
						   NULL, MISSING_METHOD);
	else
		intent_attempt(req, intent,
					   wishes.off_session || wishes.error_on_action);
}

/* GET /v1/payment_intents/{id} */
void
intent_retrieve(Request *req)
{
	static const char *const names[] = {"client_secret", "expand", NULL};
	Intent	   *intent = intent_required(req);

	if (intent != NULL && params_known(req, names))
		intent_reply(req, intent);
}
