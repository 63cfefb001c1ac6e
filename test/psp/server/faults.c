/*-------------------------------------------------------------------------
 *
 * faults.c
 *		Rules that say which requests get which fault.
 *
 * The first rule in order of creation that matches and fires wins. A rule
 * with a probability draws one number of its own seeded sequence for every
 * request that matches, so a run can be repeated.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "psp.h"

typedef struct FaultRule
{
	struct FaultRule *next;
	int64_t		id;
	char	   *method;			/* NULL = any */
	Operation	operation;
	char	   *key;			/* NULL = any */
	char	   *uri;			/* somewhere in path or query; NULL = any */
	FaultShot	shot;
	int64_t		skip;			/* matching requests still let through */
	int64_t		remaining;		/* -1 = without end */
	int64_t		fired;
	double		probability;
	uint64_t	random;			/* state of the sequence */
} FaultRule;

static const char *const fault_names[FAULT_KINDS] = {
	"none", "delay", "drop_before", "drop_after", "reset_before",
	"reset_after", "error_500", "error_500_stored", "error_503",
	"conflict_409", "rate_limit_429", "garbage", "truncated", "oversized",
	"slow_loris",
};

static const char *const operation_names[] = {
	"create", "confirm", "capture", "cancel", "retrieve", "refund",
	"transfer", "authorize", "details", "any",
};

static FaultRule *rules;
static int64_t last_id;

/* Name of a fault. */
const char *
fault_name(FaultKind kind)
{
	return fault_names[kind];
}

/* Name of an operation. */
const char *
operation_name(Operation operation)
{
	return operation_names[operation];
}

/* Index of a name, -1 if it is not in the list. */
static int
find_name(const char *const *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return (int) i;
	return -1;
}

/* Does a rule speak of this request? */
static bool
rule_matches(const FaultRule *rule, const Request *req)
{
	if (rule->remaining == 0)
		return false;
	if (rule->method != NULL && strcmp(rule->method, req->method) != 0)
		return false;
	if (rule->operation != OP_ANY && rule->operation != req->route->operation)
		return false;
	if (rule->uri != NULL && strstr(req->uri, rule->uri) == NULL)
		return false;
	return rule->key == NULL ||
		(req->key != NULL && strcmp(rule->key, req->key) == 0);
}

/* Does the sequence of the rule say yes this time? */
static bool
rule_draws(FaultRule *rule)
{
	uint64_t	bits;

	if (rule->probability >= 1)
		return true;
	rule->random += UINT64_C(0x9e3779b97f4a7c15);
	bits = mix64(rule->random) >> 11;
	return (double) bits < rule->probability * (double) (UINT64_C(1) << 53);
}

/* Gives the request its fault, if any. */
void
fault_pick(Request *req)
{
	for (FaultRule *rule = rules; rule != NULL; rule = rule->next)
	{
		if (!rule_matches(rule, req))
			continue;
		if (rule->skip > 0)
		{
			rule->skip--;
			continue;
		}
		if (!rule_draws(rule))
			continue;
		if (rule->remaining > 0)
			rule->remaining--;
		rule->fired++;
		server.stats.faults[rule->shot.kind]++;
		req->fault = rule->shot;
		return;
	}
}

/* Frees one rule. */
static void
free_rule(FaultRule *rule)
{
	free(rule->method);
	free(rule->key);
	free(rule->uri);
	free(rule);
}

/* Removes all rules. */
void
faults_clear(void)
{
	while (rules != NULL)
	{
		FaultRule  *rule = rules;

		rules = rule->next;
		free_rule(rule);
	}
}

/* Checks the numbers of a rule; returns what is wrong, or NULL. */
static const char *
check_rule(const FaultRule *rule)
{
	if (rule->shot.ms < -1 || rule->shot.bytes < -1 ||
		rule->shot.retry_after < 0 || rule->skip < 0)
		return "ms, bytes, retry_after and skip must not be negative";
	if (rule->remaining == 0 || rule->remaining < -1)
		return "times must be positive, or -1";
	if (!(rule->probability > 0 && rule->probability <= 1))
		return "probability must be above 0 and at most 1";
	if (rule->shot.kind == FAULT_DELAY && rule->shot.ms < 0)
		return "a delay needs ms";
	return NULL;
}

/* Fills a rule from JSON; returns what is wrong, or NULL. */
static const char *
read_rule(json_t *root, FaultRule *rule, json_error_t *error)
{
	const char *fault;
	const char *method = NULL;
	const char *operation = "any";
	const char *key = NULL;
	const char *uri = NULL;
	json_int_t	ms = -1;
	json_int_t	bytes = -1;
	json_int_t	retry_after = 0;
	json_int_t	times = 1;
	json_int_t	skip = 0;
	json_int_t	seed = 0;
	int			execute = 0;
	int			should_retry = -1;
	int			kind;
	int			op;

	rule->probability = 1;
	if (json_unpack_ex(root, error, JSON_STRICT,
					   "{s:s, s?{s?s, s?s, s?s, s?s !}, s?I, s?I, s?I, s?I, s?I,"
					   " s?I, s?F, s?b, s?b !}",
					   "fault", &fault, "match", "method", &method,
					   "operation", &operation, "idempotency_key", &key,
					   "uri", &uri, "ms", &ms, "bytes", &bytes, "retry_after",
					   &retry_after, "times", &times, "skip", &skip, "seed",
					   &seed, "probability", &rule->probability, "execute",
					   &execute, "should_retry", &should_retry) != 0)
		return error->text;
	kind = find_name(fault_names, FAULT_KINDS, fault);
	op = find_name(operation_names, lengthof(operation_names), operation);
	if (kind <= FAULT_NONE)
		return "no such fault";
	if (op < 0)
		return "no such operation";
	rule->method = xstrdup(method);
	rule->key = xstrdup(key);
	rule->uri = xstrdup(uri);
	rule->operation = (Operation) op;
	rule->skip = skip;
	rule->remaining = times;
	rule->random = (uint64_t) seed;
	rule->shot.kind = (FaultKind) kind;
	rule->shot.ms = ms;
	rule->shot.bytes = bytes;
	rule->shot.retry_after = (long) retry_after;
	rule->shot.execute = execute;
	if (should_retry >= 0)
		rule->shot.should_retry = should_retry ? "true" : "false";
	return check_rule(rule);
}

/* POST /_test/faults */
void
faults_add(Request *req)
{
	json_error_t error;
	json_t	   *root = json_loadb(req->body.data != NULL ? req->body.data : "",
								  req->body.len, JSON_REJECT_DUPLICATES,
								  &error);
	FaultRule  *rule = xcalloc(1, sizeof(FaultRule));
	const char *wrong = root == NULL ? error.text :
		read_rule(root, rule, &error);
	StrBuf		buf = {0};

	if (wrong != NULL)
	{
		control_error(req, MHD_HTTP_BAD_REQUEST, "%s", wrong);
		free_rule(rule);
	}
	else
	{
		FaultRule **end = &rules;

		while (*end != NULL)
			end = &(*end)->next;
		*end = rule;
		rule->id = ++last_id;
		jw_object(&buf, NULL);
		jw_int(&buf, "id", rule->id);
		jw_int(&buf, "remaining", rule->remaining);
		jw_end_object(&buf);
		reply_json(req, MHD_HTTP_OK, &buf);
	}
	json_decref(root);
}

/* Writes one rule. */
static void
render_rule(StrBuf *buf, const FaultRule *rule)
{
	jw_object(buf, NULL);
	jw_int(buf, "id", rule->id);
	jw_string(buf, "fault", fault_names[rule->shot.kind]);
	jw_object(buf, "match");
	jw_string(buf, "method", rule->method);
	jw_string(buf, "operation", operation_names[rule->operation]);
	jw_string(buf, "idempotency_key", rule->key);
	jw_string(buf, "uri", rule->uri);
	jw_end_object(buf);
	jw_int(buf, "skip", rule->skip);
	jw_int(buf, "remaining", rule->remaining);
	jw_int(buf, "fired", rule->fired);
	jw_end_object(buf);
}

/* GET /_test/faults */
void
faults_list(Request *req)
{
	StrBuf		buf = {0};

	jw_object(&buf, NULL);
	jw_array(&buf, "faults");
	for (const FaultRule *rule = rules; rule != NULL; rule = rule->next)
		render_rule(&buf, rule);
	jw_end_array(&buf);
	jw_end_object(&buf);
	reply_json(req, MHD_HTTP_OK, &buf);
}
