/*
 * src/psp/outcomes.c
 *		What the PSP's answer to a request means for the payment.
 */
#include "postgres.h"

#include "command/command.h"
#include "payment/payment.h"
#include "payout/payout.h"
#include "psp/psp_internal.h"
#include "refund/refund.h"

/*
 * Apply an outcome within the unit of work: state changes, entries, events and
 * further requests, all in the caller's transaction.  The caller changes the
 * request's own row afterwards.  Raises PL001 when the outcome contradicts
 * what was decided.
 */
void
pl_apply_outcome(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	pl_history_cause(psprintf("%s psp_request " INT64_FORMAT " %s%s%s%s%s",
							  pl_operation_name(request->operation), request->psp_request_id,
							  pl_outcome_name(outcome->class),
							  outcome->code ? " " : "", outcome->code ? outcome->code : "",
							  outcome->source ? ", said " : "", outcome->source ? outcome->source : ""));
	switch (request->followed)
	{
		case PL_OP_AUTHORIZE:
		case PL_OP_CONFIRM:
			pl_apply_authorization(work, request, outcome);
			break;
		case PL_OP_CAPTURE:
			if (request->follows == 0)
				pl_apply_capture(work, request, outcome);
			else if (outcome->class == PL_OUTCOME_REVERSED)
				pl_apply_capture_reversal(work, request, outcome);
			break;
		case PL_OP_CANCEL:
			/* what is cancelled was decided here before the PSP was told */
			break;
		case PL_OP_REFUND:
			pl_apply_refund(work, request, outcome);
			break;
		case PL_OP_PAYOUT:
			pl_apply_payout(work, request, outcome);
			break;
		case PL_OP_RETRIEVE:
			elog(ERROR, "psp_request " INT64_FORMAT " follows nothing", request->psp_request_id);
	}
}
