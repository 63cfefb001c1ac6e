/*
 * src/worker/worker.h
 *		What every background worker does: transactions, waits, errors, and what
 *		is shown of it.
 *
 * One process for each role and database named in payledger.databases.  A role
 * is a function that never returns by itself.  It is entered again
 * after an error: whatever it holds outside PostgreSQL's memory (sockets, the
 * handles of a library) must be in static variables that its beginning puts
 * in order.
 */
#ifndef PL_WORKER_H
#define PL_WORKER_H

#include "core/core.h"

#include "nodes/pg_list.h"
#include "storage/latch.h"

/* ---- settings, registered in payledger.c ---- */

extern char *pl_databases;
extern int	pl_relay_shards;	/* relays of each database */

/* ---- databases.c ---- */

extern List *pl_worker_databases(void);

/* ---- turn.c: transactions, waits and errors of a worker ---- */

/*
 * One turn:
 *
 *	if (pl_worker_begin())
 *	{
 *		... queries through core's pl_execute() and pl_select() ...
 *		pl_worker_commit();
 *	}
 *	else
 *		pl_worker_sleep(...);	-- nothing to do in this database at present
 *
 * Between turns the current memory context is pl_worker_context, which lives
 * until the role is entered again.
 */
extern MemoryContext pl_worker_context;

extern bool pl_worker_begin(void);
extern void pl_worker_commit(void);

/* grows with every reload of the configuration files */
extern int	pl_worker_reloads;

extern void pl_worker_interrupts(void);
extern WaitEventSet *pl_worker_wait_set(int fd);
extern bool pl_worker_wait(WaitEventSet *set, long timeout_ms);
extern void pl_worker_sleep(long ms);
extern void pl_worker_back_off(void);
extern void pl_worker_recover(void);
pg_noreturn extern void pl_worker_run(void (*role_main) (void));

/* ---- status.c: what stat_worker shows ---- */

extern Size pl_worker_shmem_size(void);
extern void pl_worker_shmem_init(void);
extern const char *pl_role_name(PlRole role);
extern int	pl_role_shards(PlRole role);
extern int	pl_worker_shard(void);
extern int	pl_worker_starting(int slot);
extern void pl_worker_started(int slot);
extern void pl_worker_state(const char *state);
extern void pl_worker_count(int64 n);
extern void pl_worker_insist(const char *message);
extern void pl_worker_set_error(const char *message);
extern void pl_worker_report(const char *message, const char *detail, const char *hint);
extern void pl_worker_warn(const char *message, const char *hint);
extern bool pl_worker_record_error(const char *message);
extern void pl_worker_clear_error(void);

#endif							/* PL_WORKER_H */
