/*
 * src/psp/psp_internal.h
 *		What the files of this room share.
 */
#ifndef PL_PSP_INTERNAL_H
#define PL_PSP_INTERNAL_H

#include "psp/psp.h"

/* ---- due.c: which requests are due ---- */

extern uint64 pl_due_select(void);
extern uint64 pl_due_select_one(int64 payment_id, int64 psp_request_id);
extern TimestampTz pl_due_next(void);

/* ---- in_hand.c: what the worker does, told to the next one if it dies ---- */

typedef enum PlInHandKind
{
	PL_IN_HAND_NOTHING,
	PL_IN_HAND_REQUEST,
	PL_IN_HAND_WEBHOOK,
	PL_IN_HAND_PAGE				/* of a list of events */
} PlInHandKind;

typedef struct PlInHand
{
	PlInHandKind kind;
	int64		payment_id;		/* of a request */
	int64		id;				/* of a request or a webhook */
	char		gateway[NAMEDATALEN];
} PlInHand;

/* What a worker that died has left. */
typedef struct PlLeftInHand
{
	int64		lease_token;	/* of what it had in flight */
	PlInHand	in_hand;		/* what it did just then */
	PlInHand	alone;			/* the only thing that was under way */
} PlLeftInHand;

extern bool pl_in_hand_left(PlLeftInHand *left);
extern void pl_in_hand_alone(int64 payment_id, int64 psp_request_id);

/* ---- suspects.c: what a worker may have died of ---- */

extern void pl_suspects_blame(const PlLeftInHand *left);
extern void pl_suspects_judge(const PlLeftInHand *left);

/* ---- queue.c: from row to call ---- */

extern int64 pl_queue_lease_token(void);

/* ---- call.c: from call to outcome ---- */

#define PL_MAX_NEXT_ACTION 16384	/* bytes that are kept of it */

/* ---- failover.c: authorizations that wait for too long ---- */

extern bool pl_may_fail_over(const PlGateway *gateway, const PlRequest *request, TimestampTz now);

/* ---- outcomes.c: what an outcome means ---- */

extern void pl_apply_outcome(PlWork *work, const PlRequest *request, const PlOutcome *outcome);

/* ---- finish.c: from outcome to row ---- */

extern TimestampTz pl_key_forgotten_at(const PlCall *call);

/* ---- answers.c: what became of a request, told by other means than its reply ---- */

extern PlRequest *pl_read_request(int64 payment_id, int64 psp_request_id, char **status);
extern void pl_apply_reversed(PlWork *work, const PlRequest *request, const PlRequest *question,
							  const PlOutcome *outcome);

#endif							/* PL_PSP_INTERNAL_H */
