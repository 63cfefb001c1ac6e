/*-------------------------------------------------------------------------
 *
 * render.c
 *		Objects of the API as Stripe shows them.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "stripe.h"

#define CARD_EXP_MONTH 12
#define CARD_EXP_YEAR 2034

/* Writes an integer, or null when it is negative. */
static void
put_amount(StrBuf *buf, const char *key, int64_t amount)
{
	if (amount < 0)
		jw_null(buf, key);
	else
		jw_int(buf, key, amount);
}

/* Writes a time, or null when it is 0. */
static void
put_time(StrBuf *buf, const char *key, time_t when)
{
	put_amount(buf, key, when == 0 ? -1 : (int64_t) when);
}

/* Writes an id, or null when it is empty. */
static void
put_id(StrBuf *buf, const char *key, const char *id)
{
	jw_string(buf, key, id[0] == '\0' ? NULL : id);
}

/* Writes metadata. */
void
render_metadata(StrBuf *buf, const Form *metadata)
{
	jw_object(buf, "metadata");
	for (size_t i = 0; i < metadata->count; i++)
		jw_string(buf, metadata->params[i].name, metadata->params[i].value);
	jw_end_object(buf);
}

/* Writes the billing details of somebody who left none. */
static void
put_billing_details(StrBuf *buf)
{
	static const char *const lines[] = {
		"city", "country", "line1", "line2", "postal_code", "state"
	};

	jw_object(buf, "billing_details");
	jw_object(buf, "address");
	for (size_t i = 0; i < lengthof(lines); i++)
		jw_null(buf, lines[i]);
	jw_end_object(buf);
	jw_null(buf, "email");
	jw_null(buf, "name");
	jw_null(buf, "phone");
	jw_end_object(buf);
}

/* Writes the members a card has both as a method and on a charge. */
static void
put_card_members(StrBuf *buf, const Card *card)
{
	jw_string(buf, "brand", card->brand);
	jw_object(buf, "checks");
	jw_null(buf, "address_line1_check");
	jw_null(buf, "address_postal_code_check");
	jw_string(buf, "cvc_check", "pass");
	jw_end_object(buf);
	jw_string(buf, "country", "US");
	jw_int(buf, "exp_month", CARD_EXP_MONTH);
	jw_int(buf, "exp_year", CARD_EXP_YEAR);
	jw_string(buf, "fingerprint", card->last4);
	jw_string(buf, "funding", "credit");
	jw_string(buf, "last4", card->last4);
	jw_null(buf, "wallet");
}

/* Writes a payment method. */
void
render_payment_method(StrBuf *buf, const char *key, const char *id,
					  const Card *card, time_t created)
{
	jw_object(buf, key);
	jw_string(buf, "id", id);
	jw_string(buf, "object", "payment_method");
	put_billing_details(buf);
	jw_object(buf, "card");
	put_card_members(buf, card);
	jw_object(buf, "three_d_secure_usage");
	jw_bool(buf, "supported", true);
	jw_end_object(buf);
	jw_end_object(buf);
	jw_int(buf, "created", created);
	jw_null(buf, "customer");
	jw_bool(buf, "livemode", false);
	jw_object(buf, "metadata");
	jw_end_object(buf);
	jw_string(buf, "type", "card");
	jw_end_object(buf);
}

/* Writes the address of the page that explains an error code. */
void
render_doc_url(StrBuf *buf, const char *code)
{
	char		url[128];
	int			at = snprintf(url, sizeof(url),
							  "https://stripe.com/docs/error-codes/%s", code);

	for (int i = 0; i < at && i < (int) sizeof(url) - 1; i++)
		if (url[i] == '_')
			url[i] = '-';
	jw_string(buf, "doc_url", url);
}

/* Writes why the last attempt failed, or null. */
void
render_failure(StrBuf *buf, const char *key, const Intent *intent)
{
	const Failure *failure = intent->failure;

	if (failure == NULL)
	{
		jw_null(buf, key);
		return;
	}
	jw_object(buf, key);
	if (intent->failed_charge[0] != '\0')
		jw_string(buf, "charge", intent->failed_charge);
	jw_string(buf, "code", failure->code);
	if (failure->decline_code != NULL)
		jw_string(buf, "decline_code", failure->decline_code);
	render_doc_url(buf, failure->code);
	jw_string(buf, "message", failure->message);
	render_payment_method(buf, "payment_method", intent->failed_method,
						  intent->failed_card, intent->created);
	jw_string(buf, "type", failure->type);
	jw_end_object(buf);
}

/* Writes what the customer has to do, or null. */
static void
put_next_action(StrBuf *buf, const Intent *intent)
{
	char		url[256];

	if (intent->status != REQUIRES_ACTION)
	{
		jw_null(buf, "next_action");
		return;
	}
	snprintf(url, sizeof(url),
			 "https://hooks.stripe.com/3d_secure_2/hosted?payment_intent=%s"
			 "&payment_intent_client_secret=%s", intent->id, intent->secret);
	jw_object(buf, "next_action");
	if (intent->echo[ECHO_RETURN_URL] != NULL)
	{
		jw_object(buf, "redirect_to_url");
		jw_string(buf, "return_url", intent->echo[ECHO_RETURN_URL]);
		jw_string(buf, "url", url);
		jw_end_object(buf);
		jw_string(buf, "type", "redirect_to_url");
	}
	else
	{
		jw_string(buf, "type", "use_stripe_sdk");
		jw_object(buf, "use_stripe_sdk");
		jw_string(buf, "stripe_js", url);
		jw_string(buf, "type", "three_d_secure_redirect");
		jw_end_object(buf);
	}
	jw_end_object(buf);
}

/* Writes the options of the card payment. */
static void
put_method_options(StrBuf *buf, const Intent *intent)
{
	jw_object(buf, "payment_method_options");
	jw_object(buf, "card");
	jw_null(buf, "installments");
	jw_null(buf, "mandate_options");
	jw_null(buf, "network");
	if (intent->request_multicapture != NULL)
		jw_string(buf, "request_multicapture", intent->request_multicapture);
	jw_string(buf, "request_three_d_secure", "automatic");
	jw_end_object(buf);
	jw_end_object(buf);
}

/* Writes the card of a charge. */
static void
put_charge_card(StrBuf *buf, const Intent *intent)
{
	bool		multicapture = intent->request_multicapture != NULL &&
		strcmp(intent->request_multicapture, "if_available") == 0;

	jw_object(buf, "payment_method_details");
	jw_object(buf, "card");
	put_card_members(buf, intent->charge_card);
	jw_object(buf, "multicapture");
	jw_string(buf, "status", multicapture ? "available" : "unavailable");
	jw_end_object(buf);
	jw_string(buf, "network", intent->charge_card->brand);
	jw_end_object(buf);
	jw_string(buf, "type", "card");
	jw_end_object(buf);
}

/* Writes how the bank answered. */
static void
put_outcome(StrBuf *buf, const Failure *failure)
{
	jw_object(buf, "outcome");
	jw_string(buf, "network_status", failure == NULL ?
			  "approved_by_network" : "declined_by_network");
	jw_string(buf, "reason", failure == NULL ? NULL : failure->decline_code);
	jw_string(buf, "risk_level", "normal");
	jw_string(buf, "seller_message", failure == NULL ?
			  "Payment complete." : "The bank did not return any further "
			  "details with this decline.");
	jw_string(buf, "type", failure == NULL ? "authorized" : "issuer_declined");
	jw_end_object(buf);
}

/* Writes the latest charge of an intent. A released one counts as refunded. */
void
render_charge(StrBuf *buf, const char *key, const Intent *intent)
{
	bool		failed = !intent->authorized;
	int64_t		refunded = intent->status == CANCELED && !failed &&
		intent->amount_received == 0 ? intent->amount :
		intent->amount_refunded;
	const Failure *failure = failed ? intent->failure : NULL;

	jw_object(buf, key);
	jw_string(buf, "id", intent->charge);
	jw_string(buf, "object", "charge");
	jw_int(buf, "amount", intent->amount);
	jw_int(buf, "amount_captured", intent->amount_received);
	jw_int(buf, "amount_refunded", refunded);
	jw_null(buf, "balance_transaction");
	put_billing_details(buf);
	jw_bool(buf, "captured", intent->amount_received > 0);
	jw_int(buf, "created", intent->charged_at);
	jw_string(buf, "currency", intent->currency);
	jw_string(buf, "customer", intent->echo[ECHO_CUSTOMER]);
	jw_string(buf, "description", intent->echo[ECHO_DESCRIPTION]);
	jw_bool(buf, "disputed", intent->disputed);
	jw_string(buf, "failure_code", failure == NULL ? NULL : failure->code);
	jw_string(buf, "failure_message",
			  failure == NULL ? NULL : failure->message);
	jw_bool(buf, "livemode", false);
	render_metadata(buf, &intent->metadata);
	put_outcome(buf, failure);
	jw_bool(buf, "paid", !failed);
	jw_string(buf, "payment_intent", intent->id);
	put_id(buf, "payment_method", failed ? intent->failed_method :
		   intent->payment_method);
	put_charge_card(buf, intent);
	jw_bool(buf, "refunded", refunded > 0 &&
			refunded >= intent->amount_received);
	jw_string(buf, "status", failed ? "failed" : "succeeded");
	jw_string(buf, "transfer_group", intent->echo[ECHO_TRANSFER_GROUP]);
	jw_end_object(buf);
}

/* Writes the members that say how the payment is split. */
static void
put_transfer(StrBuf *buf, const Intent *intent)
{
	if (intent->echo[ECHO_TRANSFER_DESTINATION] == NULL)
		jw_null(buf, "transfer_data");
	else
	{
		jw_object(buf, "transfer_data");
		if (intent->transfer_amount >= 0)
			jw_int(buf, "amount", intent->transfer_amount);
		jw_string(buf, "destination", intent->echo[ECHO_TRANSFER_DESTINATION]);
		jw_end_object(buf);
	}
	jw_string(buf, "transfer_group", intent->echo[ECHO_TRANSFER_GROUP]);
}

/* Writes the amounts of an intent. */
static void
put_intent_amounts(StrBuf *buf, const Intent *intent)
{
	jw_int(buf, "amount", intent->amount);
	jw_int(buf, "amount_capturable", intent->amount_capturable);
	jw_object(buf, "amount_details");
	jw_object(buf, "tip");
	jw_end_object(buf);
	jw_end_object(buf);
	jw_int(buf, "amount_received", intent->amount_received);
	jw_null(buf, "application");
	put_amount(buf, "application_fee_amount", intent->application_fee);
}

/* Writes the automatic payment methods, or null. */
static void
put_automatic_methods(StrBuf *buf, const Intent *intent)
{
	if (intent->echo[ECHO_ALLOW_REDIRECTS] == NULL)
	{
		jw_null(buf, "automatic_payment_methods");
		return;
	}
	jw_object(buf, "automatic_payment_methods");
	jw_string(buf, "allow_redirects", intent->echo[ECHO_ALLOW_REDIRECTS]);
	jw_bool(buf, "enabled", true);
	jw_end_object(buf);
}

/* Writes a payment intent. */
void
render_intent(StrBuf *buf, const char *key, const Intent *intent,
			  bool expand_charge)
{
	jw_object(buf, key);
	jw_string(buf, "id", intent->id);
	jw_string(buf, "object", "payment_intent");
	put_intent_amounts(buf, intent);
	put_automatic_methods(buf, intent);
	put_time(buf, "canceled_at", intent->canceled_at);
	jw_string(buf, "cancellation_reason", intent->cancellation_reason);
	jw_string(buf, "capture_method", intent->capture_method);
	jw_string(buf, "client_secret", intent->secret);
	jw_string(buf, "confirmation_method", intent->confirmation_method);
	jw_int(buf, "created", intent->created);
	jw_string(buf, "currency", intent->currency);
	jw_string(buf, "customer", intent->echo[ECHO_CUSTOMER]);
	jw_string(buf, "description", intent->echo[ECHO_DESCRIPTION]);
	render_failure(buf, "last_payment_error", intent);
	if (expand_charge && intent->charge[0] != '\0')
		render_charge(buf, "latest_charge", intent);
	else
		put_id(buf, "latest_charge", intent->charge);
	jw_bool(buf, "livemode", false);
	render_metadata(buf, &intent->metadata);
	put_next_action(buf, intent);
	jw_string(buf, "on_behalf_of", intent->echo[ECHO_ON_BEHALF_OF]);
	put_id(buf, "payment_method", intent->payment_method);
	put_method_options(buf, intent);
	jw_array(buf, "payment_method_types");
	jw_string(buf, NULL, "card");
	jw_end_array(buf);
	jw_null(buf, "processing");
	jw_string(buf, "receipt_email", intent->echo[ECHO_RECEIPT_EMAIL]);
	jw_null(buf, "review");
	jw_string(buf, "setup_future_usage",
			  intent->echo[ECHO_SETUP_FUTURE_USAGE]);
	jw_null(buf, "shipping");
	jw_string(buf, "statement_descriptor",
			  intent->echo[ECHO_STATEMENT_DESCRIPTOR]);
	jw_string(buf, "statement_descriptor_suffix",
			  intent->echo[ECHO_STATEMENT_DESCRIPTOR_SUFFIX]);
	jw_string(buf, "status", intent_status_names[intent->status]);
	put_transfer(buf, intent);
	jw_end_object(buf);
}

/* Writes a refund. */
void
render_refund(StrBuf *buf, const char *key, const Refund *refund)
{
	bool		failed = strcmp(refund->status, "failed") == 0;

	jw_object(buf, key);
	jw_string(buf, "id", refund->id);
	jw_string(buf, "object", "refund");
	jw_int(buf, "amount", refund->amount);
	jw_string(buf, "balance_transaction", refund->transaction);
	jw_string(buf, "charge", refund->intent->charge);
	jw_int(buf, "created", refund->created);
	jw_string(buf, "currency", refund->intent->currency);
	if (failed)
	{
		if (refund->failure_transaction[0] != '\0')
			jw_string(buf, "failure_balance_transaction",
					  refund->failure_transaction);
		jw_string(buf, "failure_reason", "expired_or_canceled_card");
	}
	render_metadata(buf, &refund->metadata);
	jw_string(buf, "payment_intent", refund->intent->id);
	jw_string(buf, "reason", refund->reason);
	jw_null(buf, "receipt_number");
	jw_null(buf, "source_transfer_reversal");
	jw_string(buf, "status", refund->status);
	jw_null(buf, "transfer_reversal");
	jw_end_object(buf);
}
