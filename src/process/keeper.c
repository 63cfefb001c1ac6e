/*
 * src/process/keeper.c
 *		The keeper: what has to be done now and then.
 *
 * Every duty runs in a transaction of its own; one that fails is put off and
 * does not keep the others from running.  With nothing to do, no duty writes
 * or takes a transaction id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "payment/payment.h"
#include "payout/payout.h"
#include "process/process_internal.h"
#include "psp/psp.h"
#include "webhook/webhook.h"
#include "worker/worker.h"

int			pl_idempotency_retention;	/* seconds */

#define TURN_MS			1000L
#define LONGEST_DELAY_MS	60000L

/* idempotency keys deleted in one transaction */
#define DELETE_AT_ONCE	10000

static PlQuery delete_idempotency_keys = {
	"DELETE FROM payledger.idempotency_keys WHERE ctid = ANY (ARRAY("
	"SELECT k.ctid FROM payledger.idempotency_keys k"
	" WHERE k.created_at < $1 LIMIT $2))", 2, {TIMESTAMPTZOID, INT8OID}
};

/* Requests whose gateway worker is gone.  Returns whether there may be more. */
static bool
expire_leases(void)
{
	pl_worker_count(pl_queue_expire_leases());
	return false;
}

static bool
make_partitions(void)
{
	int			made = pl_outbox_make_partitions();

	pl_outbox_alert();
	pl_worker_count(made);
	return made > 0;
}

/* on its own: what somebody hung on a partition is not to keep others from being made */
static bool
drop_partition(void)
{
	bool		dropped = pl_outbox_drop_partition();

	pl_worker_count(dropped);
	return dropped;
}

static bool
fold_postings(void)
{
	pl_worker_count(pl_fold_postings());
	return false;
}

static bool
forget_idempotency_keys(void)
{
	PlArgs		args = {0};
	uint64		deleted;

	pl_arg_timestamp(&args, pl_kept_since(pl_idempotency_retention));
	pl_arg_int64(&args, DELETE_AT_ONCE);
	deleted = pl_execute(&delete_idempotency_keys, &args);
	pl_worker_count(deleted);
	return deleted == DELETE_AT_ONCE;
}

static bool
expire_holds(void)
{
	int			expired = pl_expire_holds(false);

	pl_worker_count(expired);
	return expired > 0;
}

static bool
expire_left_over_holds(void)
{
	pl_worker_count(pl_expire_left_over_holds());
	return false;
}

static bool
expire_authorizations(void)
{
	int			expired = pl_expire_authorizations();

	pl_worker_count(expired);
	return expired > 0;
}

static bool
run_payouts(void)
{
	int			done = pl_run_due_payouts();

	pl_worker_count(done);
	return done > 0;
}

static bool
release_reserves(void)
{
	int			released = pl_release_due_reserves();

	pl_worker_count(released);
	return released > 0;
}

static bool
cover_negative_balances(void)
{
	int			covered = pl_cover_negative_balances();

	pl_worker_count(covered);
	return covered > 0;
}

static bool
forget_webhooks(void)
{
	uint64		deleted;
	bool		more = pl_forget_webhooks(&deleted);

	pl_worker_count(deleted);
	return more;
}

typedef struct Duty
{
	const char *name;
	bool		(*perform) (void);	/* returns whether to go on at once */
	long		interval_ms;
	bool		(*is_due) (void);	/* before the interval is over, or NULL */
	int64		next_at;		/* pl_monotonic_ms() */
	long		delay_ms;		/* after a failure, 0: the last time went well */
} Duty;

static Duty duties[] = {
	{"expiring leases", expire_leases, 1000},
	{"outbox partitions", make_partitions, 5000},
	{"published partitions", drop_partition, 5000},
	{"folding postings", fold_postings, 1000, pl_fold_is_due},
	{"expiring holds", expire_holds, 1000},
	{"left-over holds", expire_left_over_holds, 5000},
	{"expiring authorizations", expire_authorizations, 60000},
	{"releasing reserves", release_reserves, 5000},
	{"negative balances", cover_negative_balances, 10000},
	{"payouts", run_payouts, 1000},
	{"idempotency keys", forget_idempotency_keys, 60000},
	{"webhooks", forget_webhooks, 60000},
};

/*
 * Perform a duty in a turn.  Returns false if this database has nothing to
 * keep at present.
 */
static bool
perform(Duty *duty)
{
	volatile bool begun = false;
	volatile bool more = false;
	volatile bool failed = false;

	PG_TRY();
	{
		begun = pl_worker_begin();
		if (begun)
		{
			pl_worker_state(duty->name);
			more = duty->perform();
			pl_worker_commit();
		}
	}
	PG_CATCH();
	{
		pl_worker_recover();
		begun = failed = true;
	}
	PG_END_TRY();

	if (failed)
		duty->delay_ms = Min(LONGEST_DELAY_MS, Max(2 * duty->delay_ms, duty->interval_ms));
	else
		duty->delay_ms = 0;
	duty->next_at = pl_monotonic_ms() + (failed ? duty->delay_ms : more ? 0 : duty->interval_ms);
	return begun;
}

/* Show that the wall clock is wrong; the clock worker logs it. */
static bool
clock_is_wrong(void)
{
	static bool shown = false;
	int64		step = pl_clock_step();
	TimestampTz now = pl_now();
	bool		held = pl_ids_hold(now);
	bool		wrong = step != 0 || !held;

	if (wrong && !shown)
	{
		char	   *message = held ?
			psprintf("the wall clock is %s the time that payledger counts: nothing expires, is paid out or is deleted until it is right, or payledger.confirm_clock() is called",
					 pl_describe_step(step)) :
			psprintf("the clock shows %s, a time that ids cannot hold: nothing can be written, expires, is paid out or is deleted until it is right",
					 timestamptz_to_str(now));

		(void) pl_worker_record_error(message);
		pfree(message);
	}
	shown = wrong;
	return shown;
}

/* Does any duty fail at present? */
static bool
failing(void)
{
	if (clock_is_wrong())
		return true;
	for (int i = 0; i < (int) lengthof(duties); i++)
		if (duties[i].delay_ms > 0)
			return true;
	return false;
}

static bool
is_due(const Duty *duty)
{
	return duty->next_at <= pl_monotonic_ms() ||
		(duty->is_due != NULL && duty->delay_ms == 0 && duty->is_due());
}

/* Is there a duty to go on with at once? */
static bool
unfinished(void)
{
	for (int i = 0; i < (int) lengthof(duties); i++)
		if (is_due(&duties[i]))
			return true;
	return false;
}

/*
 * The keeper's life.
 */
void
pl_keeper_main(void)
{
	/* did the last turn begin?  A round without a due duty does not tell. */
	bool		present = true;

	for (;;)
	{
		for (int i = 0; i < (int) lengthof(duties); i++)
		{
			pl_worker_interrupts();
			if (!is_due(&duties[i]))
				continue;
			present = perform(&duties[i]);
			if (!present)
				break;
		}
		if (present)
			pl_worker_state("idle");
		if (present && !failing())
			pl_worker_clear_error();
		pl_worker_wait(NULL, present && unfinished() ? 0 : TURN_MS);
	}
}
