/*
 * src/outbox/dead_letters.c
 *		What an operator decides about events that Kafka refused.  The relay
 *		makes them and sends them again: src/relay/dead_letters.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"

int			pl_after_dead_letter;

#define MAX_NOTE 500

static const char *const states[] = {"PARKED", "HELD", "READY", "PUBLISHED", "SKIPPED"};

static const PlEdge edges[] = {
	{NULL, "PARKED"},
	{NULL, "HELD"},
	{"PARKED", "READY"},
	{"PARKED", "SKIPPED"},
	{"HELD", "PUBLISHED"},		/* what it waited for is decided */
	{"HELD", "PARKED"},
	{"HELD", "SKIPPED"},
	{"READY", "PUBLISHED"},
	{"READY", "PARKED"},
	{"READY", "SKIPPED"},
};

static const PlMachine dead_letter_machine = {
	"dead_letter", states, lengthof(states), edges, lengthof(edges)
};

static PlQuery lock_dead_letter = {
	"SELECT status::text FROM payledger.dead_letters WHERE dead_letter_id = $1 FOR NO KEY UPDATE",
	1, {INT8OID}
};

static PlQuery set_status = {
	"UPDATE payledger.dead_letters"
	" SET status = $2::payledger.dead_letter_status, note = coalesce($3, note), updated_at = $4"
	" WHERE dead_letter_id = $1", 4, {INT8OID, TEXTOID, TEXTOID, TIMESTAMPTZOID}
};

PG_FUNCTION_INFO_V1(pl_sql_retry_dead_letter);
PG_FUNCTION_INFO_V1(pl_sql_skip_dead_letter);

/*
 * Called from _PG_init.
 */
void
pl_outbox_init(void)
{
	pl_register_machine(&dead_letter_machine);
	pl_register_machine(&pl_replay_machine);
	pl_register_machine(&pl_phantom_machine);
}

/*
 * Lead a dead letter to another status and wake the relay.  Raises PL007 if
 * there is none, PL001 if it may not go there.
 */
static void
decide(int64 dead_letter_id, const char *to, const char *note, const char *cause)
{
	PlArgs		args = {0};
	const char *from;

	pl_connect();
	pl_require_layout();
	if (note != NULL)
		pl_check_text("note", note, MAX_NOTE);
	pl_arg_int64(&args, dead_letter_id);
	if (pl_execute(&lock_dead_letter, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("dead letter " INT64_FORMAT " does not exist", dead_letter_id)));
	from = pl_get_text(0, 1);
	if (!pl_edge_exists(&dead_letter_machine, from, to))
		pl_illegal_transition(dead_letter_machine.name, dead_letter_id, from, to);

	pl_history_begin(cause);
	pl_arg_text(&args, to);
	pl_arg_text(&args, note);
	pl_arg_timestamp(&args, pl_transaction_now());
	pl_execute(&set_status, &args);
	pl_history_end();
	pl_wake_at_commit(PL_ROLE_RELAY);
	pl_finish();
}

/*
 * retry_dead_letter(dead_letter_id bigint) RETURNS text
 */
Datum
pl_sql_retry_dead_letter(PG_FUNCTION_ARGS)
{
	decide(pl_int64_arg(fcinfo, 0, "dead_letter_id"), "READY", NULL, "retry_dead_letter");
	PG_RETURN_TEXT_P(cstring_to_text("READY"));
}

/*
 * skip_dead_letter(dead_letter_id bigint, note text) RETURNS text
 */
Datum
pl_sql_skip_dead_letter(PG_FUNCTION_ARGS)
{
	int64		dead_letter_id = pl_int64_arg(fcinfo, 0, "dead_letter_id");

	decide(dead_letter_id, "SKIPPED", pl_text_arg(fcinfo, 1, "note"), "skip_dead_letter");
	PG_RETURN_TEXT_P(cstring_to_text("SKIPPED"));
}
