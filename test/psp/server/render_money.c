/*-------------------------------------------------------------------------
 *
 * render_money.c
 *		Transfers, disputes and balance transactions as Stripe shows them.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "stripe.h"

#define RESPONSE_DAYS 7

/* Writes a transfer reversal. */
void
render_reversal(StrBuf *buf, const char *key, const Transfer *transfer,
				const TransferReversal *reversal)
{
	jw_object(buf, key);
	jw_string(buf, "id", reversal->id);
	jw_string(buf, "object", "transfer_reversal");
	jw_int(buf, "amount", reversal->amount);
	jw_string(buf, "balance_transaction", reversal->transaction);
	jw_int(buf, "created", reversal->created);
	jw_string(buf, "currency", transfer->currency);
	jw_null(buf, "destination_payment_refund");
	render_metadata(buf, &reversal->metadata);
	jw_null(buf, "source_refund");
	jw_string(buf, "transfer", transfer->id);
	jw_end_object(buf);
}

/* Writes the list of the reversals of a transfer, newest first. */
static void
put_reversals(StrBuf *buf, const Transfer *transfer)
{
	char		url[80];

	snprintf(url, sizeof(url), "/v1/transfers/%s/reversals", transfer->id);
	jw_object(buf, "reversals");
	jw_string(buf, "object", "list");
	jw_array(buf, "data");
	for (size_t i = transfer->nreversals; i > 0; i--)
		render_reversal(buf, NULL, transfer, &transfer->reversals[i - 1]);
	jw_end_array(buf);
	jw_bool(buf, "has_more", false);
	jw_string(buf, "url", url);
	jw_end_object(buf);
}

/* Writes a transfer. */
void
render_transfer(StrBuf *buf, const char *key, const Transfer *transfer)
{
	jw_object(buf, key);
	jw_string(buf, "id", transfer->id);
	jw_string(buf, "object", "transfer");
	jw_int(buf, "amount", transfer->amount);
	jw_int(buf, "amount_reversed", transfer->amount_reversed);
	jw_string(buf, "balance_transaction", transfer->transaction);
	jw_int(buf, "created", transfer->created);
	jw_string(buf, "currency", transfer->currency);
	jw_string(buf, "description", transfer->description);
	jw_string(buf, "destination", transfer->destination);
	jw_string(buf, "destination_payment", transfer->payment);
	jw_bool(buf, "livemode", false);
	render_metadata(buf, &transfer->metadata);
	put_reversals(buf, transfer);
	jw_bool(buf, "reversed", transfer->amount_reversed == transfer->amount);
	jw_string(buf, "source_transaction", transfer->source);
	jw_string(buf, "source_type", "card");
	jw_string(buf, "transfer_group", transfer->group);
	jw_end_object(buf);
}

/* Writes the fee of a balance transaction, if there is one. */
static void
put_fee_details(StrBuf *buf, const BalanceTransaction *transaction,
				const char *currency)
{
	jw_array(buf, "fee_details");
	if (transaction->fee != 0)
	{
		jw_object(buf, NULL);
		jw_int(buf, "amount", transaction->fee);
		jw_null(buf, "application");
		jw_string(buf, "currency", currency);
		jw_string(buf, "description", "Dispute fee");
		jw_string(buf, "type", "stripe_fee");
		jw_end_object(buf);
	}
	jw_end_array(buf);
}

/* Writes a balance transaction of a dispute. */
static void
put_transaction(StrBuf *buf, const Dispute *dispute,
				const BalanceTransaction *transaction)
{
	const char *currency = dispute->intent->currency;
	bool		reversal = transaction->amount > 0;
	char		description[80];

	snprintf(description, sizeof(description), "Chargeback %s for %s",
			 reversal ? "reversal" : "withdrawal", dispute->intent->charge);
	jw_object(buf, NULL);
	jw_string(buf, "id", transaction->id);
	jw_string(buf, "object", "balance_transaction");
	jw_int(buf, "amount", transaction->amount);
	jw_int(buf, "available_on", transaction->created);
	jw_string(buf, "balance_type", "payments");
	jw_int(buf, "created", transaction->created);
	jw_string(buf, "currency", currency);
	jw_string(buf, "description", description);
	jw_null(buf, "exchange_rate");
	jw_int(buf, "fee", transaction->fee);
	put_fee_details(buf, transaction, currency);
	jw_int(buf, "net", transaction->amount - transaction->fee);
	jw_string(buf, "reporting_category", reversal ? "dispute_reversal" :
			  "dispute");
	jw_string(buf, "source", dispute->id);
	jw_string(buf, "status", "available");
	jw_string(buf, "type", "adjustment");
	jw_end_object(buf);
}

/* Writes the evidence of somebody who has given none. */
static void
put_evidence(StrBuf *buf, const Dispute *dispute)
{
	static const char *const members[] = {
		"access_activity_log", "billing_address", "cancellation_policy",
		"cancellation_policy_disclosure", "cancellation_rebuttal",
		"customer_communication", "customer_email_address", "customer_name",
		"customer_purchase_ip", "customer_signature",
		"duplicate_charge_documentation", "duplicate_charge_explanation",
		"duplicate_charge_id", "product_description", "receipt",
		"refund_policy", "refund_policy_disclosure",
		"refund_refusal_explanation", "service_date",
		"service_documentation", "shipping_address", "shipping_carrier",
		"shipping_date", "shipping_documentation",
		"shipping_tracking_number", "uncategorized_file",
		"uncategorized_text"
	};
	bool		answered = strcmp(dispute->status, "needs_response") != 0;

	jw_object(buf, "evidence");
	for (size_t i = 0; i < lengthof(members); i++)
		jw_null(buf, members[i]);
	jw_object(buf, "enhanced_evidence");
	jw_end_object(buf);
	jw_end_object(buf);
	jw_object(buf, "evidence_details");
	jw_int(buf, "due_by", dispute->created + RESPONSE_DAYS * 24 * 3600);
	jw_object(buf, "enhanced_eligibility");
	jw_end_object(buf);
	jw_bool(buf, "has_evidence", answered);
	jw_bool(buf, "past_due", false);
	jw_int(buf, "submission_count", answered ? 1 : 0);
	jw_end_object(buf);
}

/* Writes a dispute. */
void
render_dispute(StrBuf *buf, const char *key, const Dispute *dispute)
{
	jw_object(buf, key);
	jw_string(buf, "id", dispute->id);
	jw_string(buf, "object", "dispute");
	jw_int(buf, "amount", dispute->amount);
	jw_array(buf, "balance_transactions");
	for (size_t i = 0; i < dispute->ntransactions; i++)
		put_transaction(buf, dispute, &dispute->transactions[i]);
	jw_end_array(buf);
	jw_string(buf, "charge", dispute->intent->charge);
	jw_int(buf, "created", dispute->created);
	jw_string(buf, "currency", dispute->intent->currency);
	jw_array(buf, "enhanced_eligibility_types");
	jw_end_array(buf);
	put_evidence(buf, dispute);
	jw_bool(buf, "is_charge_refundable", false);
	jw_bool(buf, "livemode", false);
	jw_object(buf, "metadata");
	jw_end_object(buf);
	jw_string(buf, "payment_intent", dispute->intent->id);
	jw_string(buf, "reason", dispute->reason);
	jw_string(buf, "status", dispute->status);
	jw_end_object(buf);
}

/* Writes the truth about one transfer. */
void
truth_transfer(StrBuf *buf, const Transfer *transfer)
{
	jw_object(buf, NULL);
	jw_string(buf, "psp", psp_stripe.name);
	jw_string(buf, "id", transfer->id);
	jw_string(buf, "destination", transfer->destination);
	jw_string(buf, "transfer_group", transfer->group);
	jw_string(buf, "currency", transfer->currency);
	jw_int(buf, "amount", transfer->amount);
	jw_int(buf, "amount_reversed", transfer->amount_reversed);
	render_metadata(buf, &transfer->metadata);
	jw_string(buf, "idempotency_key", transfer->key);
	jw_string(buf, "request", transfer->request);
	jw_end_object(buf);
}
