/*
 * cursor.c
 *		Target: records of the cursor's topic, which others may have written.
 *
 * The source itself is included, for what reads a record is static there; its
 * own names are given others.
 */
#include "postgres.h"

#include "relay/cursor.h"

#define pl_cursor			fuzz_pl_cursor
#define pl_cursor_topic		fuzz_pl_cursor_topic
#define pl_cursor_hash		fuzz_pl_cursor_hash
#define pl_cursor_message	fuzz_pl_cursor_message
#define pl_cursor_recover	fuzz_pl_cursor_recover
#define pl_cursor_claim		fuzz_pl_cursor_claim

#include "relay/cursor.c"

#undef pl_cursor
#undef pl_cursor_topic

#include "fuzz/fuzz.h"

/* First line: what follows the cursor's key; then the record. */
static void
run_cursor(const char *data, size_t length)
{
	Found		found = {.damaged_offset = -1};
	PlRecord	record;
	PlMessage	message = {0};
	StringInfoData positions;
	PlChunk		chunk = {0};
	char	   *suffix = fuzz_line(&data, &length);

	strlcpy(fuzz_pl_cursor.record_key, "fuzz", sizeof(fuzz_pl_cursor.record_key));
	pl_worker_context = CurrentMemoryContext;
	message.key = psprintf("fuzz%s", suffix);
	message.key_length = strlen(message.key);
	message.value = fuzz_copy(data, length);
	message.value_length = length;
	take_record(&found, &message);
	if (found.epoch == PG_INT32_MAX)
		fuzz_fail("an epoch that has no next one");

	if (found.value == NULL || !pl_record_read(found.value, &record))
		return;
	pl_positions_load(message.value);
	initStringInfo(&positions);
	pl_positions_describe(&positions, &chunk);
}

const FuzzTarget fuzz_cursor_targets[] = {
	{"cursor", run_cursor, true},
	{NULL}
};
