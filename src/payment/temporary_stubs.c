#include "postgres.h"

#include "payment/payment.h"

void
pl_apply_payout(PlWork *work, const PlRequest *request, const PlOutcome *outcome)
{
	elog(ERROR, "no payouts yet");
}

void
pl_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
					  int64 psp_request_id, int64 amount)
{
}

void
pl_release_reserve_of_capture(PlWork *work, const PlPayment *payment, const PlOrder *order,
							  int64 psp_request_id)
{
}
