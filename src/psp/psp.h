/*
 * src/psp/psp.h
 *		The request queue: from a row to a call, from its outcome to what follows.
 */
#ifndef PL_PSP_H
#define PL_PSP_H

#include "gateway/gateway.h"

/* settings, registered in payledger.c */
extern int	pl_authorize_timeout;	/* payledger.authorize_timeout, ms */

/* ---- trouble.c: what somebody has to be woken for ---- */

typedef struct PlTrouble
{
	const char *message;		/* the same as long as it lasts */
	const char *detail;			/* or NULL */
	const char *hint;			/* or NULL */
} PlTrouble;

extern List *pl_troubles_of_gateways(void);
extern List *pl_troubles_of_requests(bool *looked);

/* ---- in_hand.c: what the worker does, told to the next one if it dies ---- */

extern void pl_in_hand_begin(void);
extern void pl_in_hand_call(const PlCall *call);
extern void pl_in_hand_webhook(const char *gateway, int64 webhook_id);
extern void pl_in_hand_nothing(void);

/* ---- suspects.c: what a worker may have died of ---- */

/* next_at of a list of events that is not read before an operator says so */
#define PL_BACKFILL_NEVER "'9999-01-01 00:00+00'"

extern void pl_suspects_begin(void);
extern bool pl_suspects_wait(void);
extern bool pl_suspects_next(int64 *payment_id, int64 *psp_request_id);

/* ---- queue.c: from row to call ---- */

extern bool pl_queue_attach(void);
extern void pl_queue_take_over(void);
extern bool pl_queue_lease_alone(int64 payment_id, int64 psp_request_id, dlist_head *leased);
extern void pl_queue_clock_confirmed(void);
extern uint64 pl_queue_expire_leases(void);
extern void pl_queue_lease(List *over, dlist_head *leased, TimestampTz *next_due);
extern void pl_queue_drop(PlCall *call);

/* ---- call.c: from call to outcome ---- */

extern bool pl_is_reference(const char *gateway, const char *reference);
extern void pl_clean_outcome(const char *gateway, PlOutcome *outcome);
extern void pl_call_send(PlCall *call);
extern void pl_call_interpret(PlCall *call, PlHttpReply *reply);
extern void pl_call_perform(PlCall *call);
extern void pl_call_set_outcome(PlCall *call, PlOutcomeClass class, const char *code,
								const char *message);

/* ---- failover.c: authorizations that wait for too long ---- */

extern void pl_fail_over_waiting(TimestampTz *next_due);

/* ---- finish.c: from outcome to row ---- */

extern List *pl_queue_finish(List *calls);
extern void pl_queue_park(PlCall *call, const char *code, const char *message);

/* ---- answers.c: what became of a request, told by other means than its reply ---- */

typedef enum PlAnswered
{
	PL_ANSWERED,
	PL_ANSWER_NO_NEWS,			/* known already */
	PL_ANSWER_TOO_EARLY,		/* the request is with the PSP, or not sent yet */
	PL_ANSWER_NO_REQUEST
} PlAnswered;

extern PlAnswered pl_answer_request(PlWork *work, int64 payment_id, int64 psp_request_id,
									const PlRequest *question, const PlOutcome *outcome);

/* ---- authorize.c ---- */

extern void pl_require_nonatomic(FunctionCallInfo fcinfo, const char *procedure,
								 const char *hint);

#endif							/* PL_PSP_H */
