/*
 * fence.c
 *		Takes a transactional id over: whoever used it before is fenced, and the
 *		transaction it left open is aborted.
 *
 * fence BROKERS TRANSACTIONAL_ID
 */
#include <stdio.h>

#include "tool.h"

#define TIMEOUT_MS 30000

const char *progname = "fence";

int
main(int argc, char **argv)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_error_t *error;
	rd_kafka_t *rk;

	if (argc != 3)
		die("usage: fence BROKERS TRANSACTIONAL_ID");
	set_property(conf, "bootstrap.servers", argv[1]);
	set_property(conf, "transactional.id", argv[2]);
	rk = new_client(RD_KAFKA_PRODUCER, conf);
	error = rd_kafka_init_transactions(rk, TIMEOUT_MS);
	if (error)
		die("%s", rd_kafka_error_string(error));
	rd_kafka_destroy(rk);
	return 0;
}
