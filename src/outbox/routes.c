/*
 * src/outbox/routes.c
 *		Where events of a type go: route_event(); tombstones.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "outbox/outbox.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#define MAX_TOPIC	249			/* Kafka's limit */
#define MAX_KEY		255

static PlQuery store_route = {
	"INSERT INTO payledger.event_routes (event_type, topic, message_key) VALUES ($1, $2, $3)"
	" ON CONFLICT (event_type) DO UPDATE SET topic = excluded.topic, message_key = excluded.message_key",
	3, {TEXTOID, TEXTOID, TEXTOID}
};

PG_FUNCTION_INFO_V1(pl_sql_route_event);
PG_FUNCTION_INFO_V1(pl_sql_publish_tombstone);

/*
 * Raise 22023 unless Kafka takes that for the name of a topic.
 */
void
pl_check_topic(const char *topic)
{
	static const char legal[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t		length = strlen(topic);

	if (length == 0 || length > MAX_TOPIC || strspn(topic, legal) != length ||
		strcmp(topic, ".") == 0 || strcmp(topic, "..") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic \"%s\" cannot exist", topic),
				 errhint("A topic has 1 to %d letters, digits, dots, underscores and hyphens.", MAX_TOPIC)));
}

/*
 * route_event(event_type, topic, message_key)
 */
Datum
pl_sql_route_event(PG_FUNCTION_ARGS)
{
	char	   *event_type = pl_text_arg(fcinfo, 0, "event_type");
	char	   *topic = pl_optional_text_arg(fcinfo, 1);
	char	   *message_key = pl_text_arg(fcinfo, 2, "message_key");
	PlArgs		args = {0};

	if (pl_event_type(event_type) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("event type \"%s\" does not exist", event_type),
				 errhint("payledger.event_types lists them.")));
	if (topic != NULL)
		pl_check_topic(topic);
	if (strcmp(message_key, "event_key") != 0 && strcmp(message_key, "aggregateid") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("message key \"%s\" does not exist", message_key),
				 errhint("It is event_key or aggregateid.")));

	pl_connect();
	pl_require_layout();
	pl_arg_text(&args, event_type);
	pl_arg_text(&args, topic);
	pl_arg_text(&args, message_key);
	pl_execute(&store_route, &args);
	pl_finish();
	PG_RETURN_VOID();
}

/*
 * publish_tombstone(aggregatetype, event_key) RETURNS uuid
 */
Datum
pl_sql_publish_tombstone(PG_FUNCTION_ARGS)
{
	char	   *aggregatetype = pl_text_arg(fcinfo, 0, "aggregatetype");
	char	   *event_key = pl_text_arg(fcinfo, 1, "event_key");
	char	   *type = psprintf("%s_tombstone", aggregatetype);
	PlEventBatch *batch = pl_events_new();
	int64		id;

	pl_connect();
	pl_require_layout();
	if (pl_event_type(type) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("aggregate type \"%s\" does not exist", aggregatetype),
				 errhint("payledger.event_types lists them.")));
	pl_check_text("event_key", event_key, MAX_KEY);
	id = pl_next_id();
	pl_event_add(batch, type, id, 1, event_key, NULL, pl_traceparent());
	pl_events_append(batch);
	pl_finish();
	PG_RETURN_UUID_P(pl_event_id(id, 1));
}
