/*
 * src/gateway/limits.c
 *		How much a gateway is asked at once and in a second.
 *
 * Two token buckets, of the gateway and of each of its endpoints (an endpoint
 * is a kind of operation), by the monotonic clock; how many calls of each are
 * under way; the pauses that the PSP asked for; and a fair share of the
 * descriptors for each gateway.  What is above a limit is not leased: it stays
 * READY or UNKNOWN, and due.
 *
 * What is known of a gateway is kept by its name, over changes of its row:
 * calls to the former address count until they are over.
 */
#include "postgres.h"

#include <math.h>

#include "command/command.h"
#include "gateway/circuit.h"
#include "gateway/gateway_internal.h"
#include "http/http.h"
#include "utils/memutils.h"

int			pl_gateway_concurrency;

/* calls to a gateway that has not answered yet: no storm of new connections */
#define FIRST_CALLS 16

/* a PSP that asks for patience is not left alone for longer */
#define LONGEST_PAUSE_MS 60000

/* tokens gather for this long before the next look, so that they go in batches */
#define GATHER_MS 20

/* without the option burst: what comes in after a tenth of a second */
#define BURST_SECONDS 0.1

typedef struct Bucket
{
	double		rate;			/* tokens a second; 0: no limit */
	double		size;
	double		tokens;
	int64		filled_at;		/* pl_monotonic_ms() */
} Bucket;

typedef struct Endpoint
{
	Bucket		bucket;
	int			concurrency;	/* 0: no limit of its own */
	int			in_flight;
	int			leaving;		/* of them, over with this transaction */
	int64		paused_until;	/* pl_monotonic_ms(); the PSP asked for it */
	int			window;			/* calls at once since it was too many; 0: no limit */
} Endpoint;

struct PlGatewayLimits
{
	dlist_node	node;
	char		name[NAMEDATALEN];
	bool		uses_http;
	int			concurrency;	/* 0: payledger.gateway_concurrency */
	int			retry_base_ms;
	Bucket		bucket;
	int			in_flight;
	int			leaving;		/* of them, over with this transaction */
	int			promised;		/* calls it may lease in this turn */
	Endpoint	endpoints[PL_OPERATION_COUNT];
	PlCircuit	circuit;
	int64		replies;		/* to calls, or their lack */
	int64		faults;			/* of them, no answer or status 5xx */
};

static dlist_head all_limits = DLIST_STATIC_INIT(all_limits);

/* ---- token buckets ---- */

static void
configure_bucket(Bucket *bucket, double rate, int burst)
{
	double		size = burst > 0 ? burst : Max(ceil(rate * BURST_SECONDS), 1);

	if (bucket->rate == 0)
	{
		bucket->tokens = size;
		bucket->filled_at = pl_monotonic_ms();
	}
	bucket->rate = rate;
	bucket->size = size;
	bucket->tokens = Min(bucket->tokens, size);
}

static void
fill(Bucket *bucket)
{
	int64		now = pl_monotonic_ms();

	bucket->tokens = Min(bucket->size, bucket->tokens + (now - bucket->filled_at) * bucket->rate / 1000);
	bucket->filled_at = now;
}

/* Whole tokens that are there now. */
static int
tokens(Bucket *bucket)
{
	if (bucket->rate == 0)
		return INT_MAX;
	fill(bucket);
	return (int) bucket->tokens;
}

/* When there will be some: at least one, and no more than fit in. */
static int64
next_tokens_at(Bucket *bucket)
{
	double		one = (1 - bucket->tokens) * 1000 / bucket->rate;
	double		full = (bucket->size - bucket->tokens) * 1000 / bucket->rate;

	return bucket->filled_at + (int64) ceil(Max(one, Min(full, GATHER_MS)));
}

static void
take(Bucket *bucket)
{
	if (bucket->rate > 0)
		bucket->tokens -= 1;
}

/* ---- what is known of a gateway ---- */

static PlGatewayLimits *
find_limits(const char *name)
{
	dlist_iter	iter;
	PlGatewayLimits   *limits;

	dlist_foreach(iter, &all_limits)
	{
		limits = dlist_container(PlGatewayLimits, node, iter.cur);
		if (strcmp(limits->name, name) == 0)
			return limits;
	}
	limits = MemoryContextAllocZero(TopMemoryContext, sizeof(PlGatewayLimits));
	strlcpy(limits->name, name, NAMEDATALEN);
	dlist_push_tail(&all_limits, &limits->node);
	return limits;
}

/*
 * A gateway's options were read: take its limits from them.  A gateway whose
 * row changed has to prove itself again.
 */
void
pl_limits_configure(PlGateway *gateway)
{
	PlGatewayLimits   *limits = find_limits(gateway->name);
	double		rate = pl_option_number(gateway, "endpoint_rate_per_second");
	int			burst = pl_option_int(gateway, "burst");

	gateway->limits = limits;
	limits->uses_http = gateway->adapter->perform == NULL;
	limits->concurrency = pl_option_int(gateway, "concurrency");
	limits->retry_base_ms = pl_option_int(gateway, "retry_base_ms");
	configure_bucket(&limits->bucket, pl_option_number(gateway, "rate_per_second"), burst);
	for (int i = 0; i < PL_OPERATION_COUNT; i++)
	{
		configure_bucket(&limits->endpoints[i].bucket, rate, burst);
		limits->endpoints[i].concurrency = pl_option_int(gateway, "endpoint_concurrency");
	}
	if (limits->uses_http)
		pl_circuit_configure(&limits->circuit, pl_option_int(gateway, "circuit_failures"),
							 pl_option_int(gateway, "circuit_open_ms"));
}

/* ---- shares of the descriptors ---- */

static int
concurrency_of(const PlGatewayLimits *limits)
{
	return limits->concurrency > 0 ? limits->concurrency : pl_gateway_concurrency;
}

/* Calls under way after this transaction, as far as is known. */
static int
used(const PlGatewayLimits *limits)
{
	return limits->in_flight - limits->leaving + limits->promised;
}

/*
 * Descriptors that gateways may take: what is not in use and not kept for the
 * others.  Half of all is kept in equal shares, so that a PSP that does not
 * answer cannot hold up the others; the other half is for whoever comes first.
 */
static int
free_descriptors(const PlGatewayLimits *limits)
{
	int			sharers = 0;
	int			share;
	int			left = pl_http_max_transfers();
	ListCell   *cell;
	dlist_iter	iter;

	foreach(cell, pl_gateways())
	{
		const PlGateway *gateway = lfirst(cell);

		if (gateway->limits != NULL && gateway->limits->uses_http)
			sharers++;
	}
	share = pl_http_max_transfers() / (2 * Max(sharers, 1));

	dlist_foreach(iter, &all_limits)
	{
		const PlGatewayLimits *other = dlist_container(PlGatewayLimits, node, iter.cur);

		if (other->uses_http)
			left -= used(other);
	}
	foreach(cell, pl_gateways())
	{
		const PlGatewayLimits *other = ((PlGateway *) lfirst(cell))->limits;

		if (other != NULL && other != limits && other->uses_http)
			left -= Max(Min(share, concurrency_of(other)) - used(other), 0);
	}
	return Max(left, 0);
}

/* ---- leasing ---- */

/*
 * A turn begins in which the calls in over end.
 */
void
pl_limits_begin(List *over)
{
	ListCell   *cell;
	dlist_iter	iter;

	dlist_foreach(iter, &all_limits)
	{
		PlGatewayLimits   *limits = dlist_container(PlGatewayLimits, node, iter.cur);

		limits->leaving = limits->promised = 0;
		for (int i = 0; i < PL_OPERATION_COUNT; i++)
			limits->endpoints[i].leaving = 0;
	}
	foreach(cell, over)
	{
		const PlCall *call = lfirst(cell);

		call->gateway->limits->leaving++;
		call->gateway->limits->endpoints[call->request.operation].leaving++;
	}
}

/*
 * How many more calls the gateway may have after this transaction.  If none,
 * *when becomes the time (pl_monotonic_ms()) at which that changes by itself,
 * or -1: one of its calls, or of others, must be over first.
 */
int
pl_limits_of_gateway(PlGateway *gateway, int64 *when)
{
	PlGatewayLimits   *limits = gateway->limits;
	int			left = concurrency_of(limits) - used(limits);

	*when = -1;
	if (limits->uses_http)
	{
		left = Min(left, pl_circuit_allows(&limits->circuit, when));
		if (!limits->circuit.proven && limits->circuit.state == PL_CIRCUIT_CLOSED)
			left = Min(left, FIRST_CALLS - used(limits));
		left = Min(left, free_descriptors(limits));
	}
	if (left <= 0)
		return 0;
	left = Min(left, tokens(&limits->bucket));
	if (left <= 0)
		*when = next_tokens_at(&limits->bucket);
	return Max(left, 0);
}

/*
 * The same of one of its endpoints, which gets no more than left.
 */
int
pl_limits_of_endpoint(PlGateway *gateway, PlOperation operation, int left, int64 *when)
{
	Endpoint   *endpoint = &gateway->limits->endpoints[operation];

	*when = -1;
	if (endpoint->paused_until > pl_monotonic_ms())
	{
		*when = endpoint->paused_until;
		return 0;
	}
	if (endpoint->concurrency > 0)
		left = Min(left, endpoint->concurrency - endpoint->in_flight + endpoint->leaving);
	if (endpoint->window > 0)
		left = Min(left, endpoint->window - endpoint->in_flight + endpoint->leaving);
	if (left <= 0)
		return 0;
	left = Min(left, tokens(&endpoint->bucket));
	if (left <= 0)
		*when = next_tokens_at(&endpoint->bucket);
	return Max(left, 0);
}

/*
 * The gateway may lease n calls in this turn: the others have to leave room.
 * Given back by n = 0.
 */
void
pl_limits_promise(PlGateway *gateway, int n)
{
	gateway->limits->promised = n;
}

/*
 * A call was leased.
 */
void
pl_limits_leased(PlCall *call)
{
	PlGatewayLimits   *limits = call->gateway->limits;
	Endpoint   *endpoint = &limits->endpoints[call->request.operation];

	limits->in_flight++;
	endpoint->in_flight++;
	take(&limits->bucket);
	take(&endpoint->bucket);
	if (limits->uses_http)
		call->circuit_round = pl_circuit_leased(&limits->circuit);
}

/*
 * A call is over, or was never sent.
 */
void
pl_limits_over(PlCall *call)
{
	PlGatewayLimits   *limits = call->gateway->limits;

	limits->in_flight--;
	limits->endpoints[call->request.operation].in_flight--;
	if (limits->uses_http)
		pl_circuit_over(&limits->circuit, call->circuit_round);
}

/* ---- replies ---- */

/* A PSP that asks for patience gets it, for all requests of the kind. */
static void
pause_endpoint(PlCall *call, const PlHttpReply *reply)
{
	Endpoint   *endpoint = &call->gateway->limits->endpoints[call->request.operation];
	long		ms = pl_http_retry_after_ms(reply);

	if (ms < 0 && reply->status == 429)
		ms = call->gateway->limits->retry_base_ms;
	if (ms > 0)
		endpoint->paused_until = Max(endpoint->paused_until, pl_monotonic_ms() + Min(ms, LONGEST_PAUSE_MS));
}

/*
 * After too many requests one goes alone, and one more with each that is not
 * too many: all at once would use up their attempts.
 */
static void
adapt_window(PlCall *call, const PlHttpReply *reply)
{
	PlGatewayLimits *limits = call->gateway->limits;
	Endpoint   *endpoint = &limits->endpoints[call->request.operation];

	if (reply->status == 429)
		endpoint->window = 1;
	else if (endpoint->window > 0 && ++endpoint->window > concurrency_of(limits))
		endpoint->window = 0;
}

/*
 * Learn from the reply to a call, or from its lack.
 */
void
pl_limits_answered(PlCall *call, const PlHttpReply *reply)
{
	PlGatewayLimits   *limits = call->gateway->limits;
	bool		fault = !reply->received || reply->status >= 500;

	limits->replies++;
	if (fault)
		limits->faults++;
	if (reply->received && (reply->status == 429 || reply->status == 503))
		pause_endpoint(call, reply);
	if (reply->received)
		adapt_window(call, reply);
	pl_circuit_answered(&limits->circuit, call->circuit_round, fault, reply->received && call->failed_before);
}

/*
 * Has the gateway not answered for several calls, or since its circuit opened?
 */
bool
pl_limits_is_silent(const PlGateway *gateway)
{
	return pl_circuit_is_silent(&gateway->limits->circuit);
}

/*
 * What stat_gateway shows of the gateway's limits, into status, which is zeroed.
 */
void
pl_limits_status(const PlGateway *gateway, PlGatewayStatus *status)
{
	const PlGatewayLimits *limits = gateway->limits;
	int64		now = pl_monotonic_ms();
	TimestampTz clock = pl_now();
	int64		paused_until = 0;

	for (int i = 0; i < PL_OPERATION_COUNT; i++)
		paused_until = Max(paused_until, limits->endpoints[i].paused_until);
	if (paused_until > now)
		status->throttled_until = TimestampTzPlusMilliseconds(clock, paused_until - now);
	status->circuit = limits->circuit.state;
	status->circuit_since = limits->circuit.since;
	if (limits->circuit.state == PL_CIRCUIT_OPEN)
		status->next_probe_at = TimestampTzPlusMilliseconds(clock, limits->circuit.probe_at - now);
	status->replies = limits->replies;
	status->faults = limits->faults;
}
