/*
 * src/dispute/rounds.c
 *		The entries of a dispute: what the PSP takes and gives back, round by
 *		round, and at whose cost.
 *
 * While a dispute is not WON, the entry CHARGEBACK:<id>:<round> is in force;
 * while it is WON, CHARGEBACK_REVERSAL:<id>:<round>, which takes it back.  The
 * round grows when a decision is overturned, so each of them is posted anew.
 *
 * A seller's account that was CLOSED meanwhile takes no posting.  What is
 * charged back then is the platform's loss.  Whether a win is still the
 * seller's, whose balance was paid out or written off, only people can tell:
 * it goes to SETTLEMENT_SUSPENSE.<seller> as a CHARGEBACK_UNCLAIMED, and back
 * from there if it is overturned.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "dispute/dispute_internal.h"
#include "ledger/ledger.h"
#include "payment/payment.h"
#include "refund/refund.h"

/* An entry of the dispute. */
typedef struct PostedEntry
{
	int64		journal_entry_id;
	const char *entry_type;
} PostedEntry;

static PlQuery find_entry = {
	"SELECT journal_entry_id, entry_type FROM payledger.journal_entries WHERE reference = $1", 1, {TEXTOID}
};

static PlQuery account_status = {
	"SELECT status::text FROM payledger.accounts WHERE account_code = $1", 1, {TEXTOID}
};

static const char *
chargeback_reference(const PlDispute *dispute, int round)
{
	return psprintf("CHARGEBACK:" INT64_FORMAT ":%d", dispute->dispute_id, round);
}

static const char *
reversal_reference(const PlDispute *dispute, int round)
{
	return psprintf("CHARGEBACK_REVERSAL:" INT64_FORMAT ":%d", dispute->dispute_id, round);
}

/* The entry with that reference, of which the dispute's state says that it was posted. */
static PostedEntry
posted(const char *reference)
{
	PostedEntry entry;
	PlArgs		args = {0};

	pl_arg_text(&args, reference);
	if (pl_execute(&find_entry, &args) == 0)
		elog(ERROR, "there is no entry with reference %s", reference);
	entry.journal_entry_id = pl_get_int64(0, 1);
	entry.entry_type = pl_get_text(0, 2);
	return entry;
}

/*
 * Can nothing be posted to the seller's payable account any more?  If it is
 * closed between this and the post, the post is refused (PL008) and the command
 * may be repeated.
 */
static bool
seller_account_closed(const PlPayment *payment, const PlOrder *order)
{
	PlArgs		args = {0};

	pl_arg_text(&args, pl_account_code("MERCHANT_PAYABLE", order->seller_id, payment->currency));
	return pl_execute_latest(&account_status, &args) > 0 && strcmp(pl_get_text(0, 1), "CLOSED") == 0;
}

/*
 * The PSP takes the amount in the present round: the first, or one that
 * overturned the win of the round before.  Withdraws the order's refunds that
 * were not sent yet.  Decides who bears it: whom borne_by_seller says, or the
 * platform if the seller's account is closed, which borne_by_seller says then.
 * Changes payment, order and dispute in memory.
 */
void
pl_dispute_take(PlWork *work, PlPayment *payment, PlOrder *order, PlDispute *dispute)
{
	const char *reference = chargeback_reference(dispute, dispute->round);
	PostedEntry win = {0};

	pl_withdraw_refunds(work, payment, order);
	if (dispute->round > 1)
		win = posted(reversal_reference(dispute, dispute->round - 1));
	if (win.entry_type != NULL && strcmp(win.entry_type, "CHARGEBACK_UNCLAIMED") == 0)
		pl_post_template(work->entries, "CHARGEBACK_UNCLAIMED_REVERSAL", payment->payment_id, reference,
						 win.journal_entry_id, order->seller_id, payment->currency, dispute->amount);
	else
	{
		dispute->borne_by_seller = dispute->borne_by_seller && !seller_account_closed(payment, order);
		pl_post_template(work->entries, dispute->borne_by_seller ? "CHARGEBACK" : "CHARGEBACK_BORNE",
						 payment->payment_id, reference, 0, order->seller_id, payment->currency,
						 dispute->amount);
	}
	pl_order_item(work, payment, order, "CHARGEBACK", dispute->dispute_id, -dispute->amount);
	order->disputed_amount = pl_add_amount(order->disputed_amount, dispute->amount);
}

/*
 * The PSP gives back in the present round what it took in taken_round: to
 * those whom it took it from.  Changes the order in memory.
 */
void
pl_dispute_give_back(PlWork *work, const PlPayment *payment, PlOrder *order, const PlDispute *dispute,
					 int taken_round)
{
	const char *reference = reversal_reference(dispute, dispute->round);
	PostedEntry loss = posted(chargeback_reference(dispute, taken_round));

	if (strcmp(loss.entry_type, "CHARGEBACK_BORNE") == 0 ||
		(strcmp(loss.entry_type, "CHARGEBACK") == 0 && !seller_account_closed(payment, order)))
		pl_post_template(work->entries, psprintf("%s_REVERSAL", loss.entry_type), payment->payment_id,
						 reference, loss.journal_entry_id, order->seller_id, payment->currency,
						 dispute->amount);
	else
		pl_post_template(work->entries, "CHARGEBACK_UNCLAIMED", payment->payment_id, reference, 0,
						 order->seller_id, payment->currency, dispute->amount);
	pl_order_item(work, payment, order, "CHARGEBACK_REVERSAL", dispute->dispute_id, dispute->amount);
	order->disputed_amount -= dispute->amount;
}

/* The PSP takes its fee for the dispute, if it has one. */
void
pl_dispute_take_fee(PlWork *work, const PlPayment *payment, const PlOrder *order, const PlDispute *dispute)
{
	if (dispute->fee == 0)
		return;
	pl_post_template(work->entries, "CHARGEBACK_FEE", payment->payment_id,
					 psprintf("CHARGEBACK_FEE:" INT64_FORMAT, dispute->dispute_id), 0, NULL,
					 payment->currency, dispute->fee);
	pl_order_item(work, payment, order, "CHARGEBACK_FEE", dispute->dispute_id, -dispute->fee);
}

/* The PSP gives its fee back, which it has taken and not given back yet. */
void
pl_dispute_give_back_fee(PlWork *work, const PlPayment *payment, const PlOrder *order, PlDispute *dispute)
{
	pl_post_mirror(work, "CHARGEBACK_FEE", psprintf(INT64_FORMAT, dispute->dispute_id), payment->payment_id,
				   NULL, payment->currency, dispute->fee);
	pl_order_item(work, payment, order, "CHARGEBACK_FEE_REVERSAL", dispute->dispute_id, dispute->fee);
	dispute->fee_returned = true;
}
