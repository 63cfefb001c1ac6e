/*
 * files.c
 *		Targets: files that an operator writes.
 */
#include "postgres.h"

#include "fuzz/fuzz.h"
#include "gateway/gateway.h"
#include "kafka/kafka_internal.h"
#include "webhook/webhook.h"

#define DATABASE "fuzz"

/* What shorter ones than these are, no message can hide. */
#define SHORTEST_HIDDEN 8

static void
check_secret(const char *gateway, const char *value, void *arg)
{
	if (!pl_has_secrets(gateway))
		fuzz_fail("a secret is there and is not");
	/* an asterisk is what hides */
	if (strlen(value) >= SHORTEST_HIDDEN && strchr(value, '*') == NULL && strstr(pl_hide_secrets(gateway, value), value) != NULL)
		fuzz_fail("a secret is not hidden");
}

static void
run_secrets(const char *data, size_t length)
{
	/* what was read before would be kept if this file is wrong */
	pl_gateway_secrets_file = "";
	if (pl_secrets_load(DATABASE) != PL_SECRETS_READ)
		fuzz_fail("no file is a problem");
	pl_gateway_secrets_file = fuzz_file(data, length);
	if ((pl_secrets_load(DATABASE) == PL_SECRETS_READ) != (pl_secrets_problem() == NULL))
		fuzz_fail("a problem is there and is not");
	pl_each_webhook_secret(check_secret, NULL);
	(void) pl_webhook_keys_publish(length % 2 == 0);
}

static void
run_kafka_config(const char *data, size_t length)
{
	char	   *properties;

	pl_kafka_config_file = fuzz_file(data, length);
	properties = pl_kafka_properties();
	rd_kafka_conf_destroy(pl_kafka_producer_conf("localhost:1", pstrdup(properties), length % 2 ? "fuzz" : NULL));
	rd_kafka_conf_destroy(pl_kafka_consumer_conf("localhost:1", properties));
}

const FuzzTarget fuzz_file_targets[] = {
	{"secrets", run_secrets},
	{"kafka_config", run_kafka_config},
	{NULL}
};
