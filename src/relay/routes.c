/*
 * src/relay/routes.c
 *		Topic and key of an event: by default those of its row, else what
 *		payledger.event_routes says.
 */
#include "postgres.h"

#include "kafka/kafka.h"
#include "relay/relay_internal.h"
#include "utils/memutils.h"

#define MAX_ROUTES	64

typedef struct Route
{
	char		event_type[64];
	char		topic[256];		/* empty: the default */
	bool		by_aggregate;	/* keyed by aggregateid instead of event_key */
} Route;

static Route routes[MAX_ROUTES];
static int	nroutes = 0;

static PlQuery load_routes = {
	"SELECT event_type, topic, message_key = 'aggregateid' FROM payledger.event_routes", 0
};

/* Read the routes anew.  Needs a turn. */
void
pl_routes_load(void)
{
	int			n = (int) pl_select(&load_routes, NULL);

	if (n > MAX_ROUTES)
		elog(ERROR, "payledger.event_routes has %d rows, more than there are event types", n);
	for (nroutes = 0; nroutes < n; nroutes++)
	{
		Route	   *route = &routes[nroutes];
		char	   *topic = pl_get_text(nroutes, 2);

		strlcpy(route->event_type, pl_get_text(nroutes, 1), sizeof(route->event_type));
		strlcpy(route->topic, topic ? topic : "", sizeof(route->topic));
		route->by_aggregate = pl_get_bool(nroutes, 3);
	}
}

/* Set topic and key of the message of an event of that type; in the current memory context. */
void
pl_route(PlMessage *message, const char *event_type, const char *aggregateid)
{
	const Route *route = NULL;

	for (int i = 0; i < nroutes && route == NULL; i++)
		if (strcmp(routes[i].event_type, event_type) == 0)
			route = &routes[i];
	message->key = route && route->by_aggregate ? aggregateid : message->event_key;
	message->topic = route && route->topic[0] ? pstrdup(route->topic) :
		psprintf("%s.%s", pl_topic_prefix, message->aggregatetype);
}

/* Tell about the topics of routes. */
void
pl_routes_expect(void (*expect) (const char *topic))
{
	for (int i = 0; i < nroutes; i++)
		if (routes[i].topic[0])
			expect(routes[i].topic);
}
