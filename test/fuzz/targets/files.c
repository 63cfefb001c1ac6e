/*
 * files.c
 *		Targets: files that an operator writes.
 */
#include "postgres.h"

#include "fuzz/fuzz.h"
#include "psp/psp.h"
#include "worker/kafka.h"

static void
run_secrets(const char *data, size_t length)
{
	const char *gateway;
	const char *name;
	const char *value;

	pl_gateway_secrets_file = fuzz_file(data, length);
	pl_secrets_load();
	for (int i = 0; pl_secret_at(i, &gateway, &name, &value); i++)
	{
		if (pl_secret(gateway, name) == NULL)
			fuzz_fail("a secret is there and is not");
		(void) pl_hide_secrets(gateway, data);
	}
	(void) pl_secrets_problem();
	(void) pl_webhook_keys_publish();
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
