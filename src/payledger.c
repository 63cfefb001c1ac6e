/*
 * src/payledger.c
 *		_PG_init: settings, shared memory, worker registration.
 */
#include "postgres.h"

#include <limits.h>

#include "adapters/adapters.h"
#include "command/command.h"
#include "dispute/dispute.h"
#include "fmgr.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "kafka/kafka.h"
#include "ledger/ledger.h"
#include "miscadmin.h"
#include "outbox/outbox.h"
#include "payment/payment.h"
#include "payout/payout.h"
#include "process/process.h"
#include "psp/psp.h"
#include "refund/refund.h"
#include "relay/relay.h"
#include "settlement/settlement.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"
#include "webhook/webhook.h"
#include "worker/worker.h"

PL_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

static shmem_request_hook_type previous_shmem_request_hook = NULL;
static shmem_startup_hook_type previous_shmem_startup_hook = NULL;

static const struct config_enum_entry delivery_options[] = {
	{"at_least_once", PL_DELIVERY_AT_LEAST_ONCE, false},
	{"exactly_once", PL_DELIVERY_EXACTLY_ONCE, false},
	{NULL, 0, false}
};

static const struct config_enum_entry after_dead_letter_options[] = {
	{"hold", PL_DEAD_LETTER_HOLDS, false},
	{"pass", PL_DEAD_LETTER_PASSED, false},
	{NULL, 0, false}
};

/* Kafka's rule for topic names, with room for the suffix. */
static bool
check_topic_prefix(char **newval, void **extra, GucSource source)
{
	const char *legal = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t		length = strlen(*newval);

	if (length > 0 && length <= 200 && strspn(*newval, legal) == length && (*newval)[0] != '.')
		return true;
	GUC_check_errdetail("A topic prefix has 1 to 200 letters, digits, dots, underscores and hyphens.");
	return false;
}

static bool
check_traceparent(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0' || pl_is_traceparent(*newval, strlen(*newval)))
		return true;
	GUC_check_errdetail("A traceparent looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.");
	return false;
}

/* What a worker reads: where to connect, which files, how much at once. */
static void
define_worker_settings(void)
{
	DefineCustomStringVariable("payledger.databases",
							   "Databases in which the payledger workers run.",
							   "A comma-separated list.",
							   &pl_databases, "", PGC_POSTMASTER, GUC_LIST_INPUT,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.kafka_brokers",
							   "Kafka brokers to publish to, host:port separated by commas.",
							   "Empty: nothing is published, events wait.",
							   &pl_kafka_brokers, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.kafka_config_file",
							   "File of further librdkafka properties, mode 0600.",
							   NULL,
							   &pl_kafka_config_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.topic_prefix",
							   "Topics are this, a dot and payment, ledger or payout.",
							   NULL,
							   &pl_topic_prefix, "payledger", PGC_SIGHUP, 0,
							   check_topic_prefix, NULL, NULL);
	DefineCustomEnumVariable("payledger.delivery",
							 "Guarantee with which events reach Kafka.",
							 NULL,
							 &pl_delivery, PL_DELIVERY_AT_LEAST_ONCE, delivery_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.relay_batch",
							"Events that the relay reads and sends at once.",
							NULL,
							&pl_relay_batch, 5000, 1, 100000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.relay_shards",
							"Relay workers of each database, which share the events by key.",
							"Exactly once, the cursor's topic needs as many partitions.",
							&pl_relay_shards, 1, 1, PL_MAX_RELAY_SHARDS, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomEnumVariable("payledger.after_dead_letter",
							 "What becomes of later events with the key of an event that Kafka refused.",
							 "hold: they wait behind it; pass: they are published without it.",
							 &pl_after_dead_letter, PL_DEAD_LETTER_HOLDS, after_dead_letter_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.gateway_secrets_file",
							   "File with the gateways' API keys, mode 0600; read by the gateway worker only.",
							   NULL,
							   &pl_gateway_secrets_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.private_gateway_addresses",
							   "Networks of this machine and one's own in which gateways may be.",
							   "A list such as 10.1.2.0/24, ::1/128. Empty: gateways are on the internet only.",
							   &pl_private_gateway_addresses, "", PGC_SIGHUP, GUC_LIST_INPUT | GUC_SUPERUSER_ONLY,
							   pl_check_networks, pl_assign_networks, NULL);
	DefineCustomIntVariable("payledger.gateway_concurrency",
							"Requests that may be in flight at each gateway at once.",
							"Each takes a file descriptor or two of max_files_per_process.",
							&pl_gateway_concurrency, 256, 1, 10000, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
}

/* How long things are kept or waited for, and what identifies this server. */
static void
define_other_settings(void)
{
	DefineCustomIntVariable("payledger.node_id",
							"Part of every id; must differ between servers that share data.",
							NULL,
							&pl_node_id, 0, 0, 1023, PGC_POSTMASTER, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.max_clock_step",
							"By how much the wall clock may be set while the server runs without being distrusted.",
							"payledger.stat_clock shows a larger step, payledger.confirm_clock() accepts it.",
							&pl_max_clock_step, 60, 1, 24 * 3600, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.max_clock_gap",
							"How long after the server was last up the wall clock is believed at a start after a reboot.",
							"After a longer time nothing expires, is paid out or is deleted until payledger.confirm_clock() is called.",
							&pl_max_clock_gap, 24 * 3600, 60, INT_MAX, PGC_POSTMASTER, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.outbox_retention",
							"How long published events are kept.",
							NULL,
							&pl_outbox_retention, 7 * 24 * 3600, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.outbox_limit",
							"Events that may wait for Kafka; beyond that, commands are refused.",
							"0: no limit.",
							&pl_outbox_limit, 0, 0, INT_MAX, PGC_SIGHUP, 0,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.idempotency_retention",
							"How long replies to idempotency keys are kept.",
							NULL,
							&pl_idempotency_retention, 30 * 24 * 3600, 3600, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.webhook_retention",
							"How long events of PSPs are kept after they were applied.",
							"A PSP repeats an event for days; while it is kept, a repetition is known as one.",
							&pl_webhook_retention, 30 * 24 * 3600, 8 * 24 * 3600, INT_MAX, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("payledger.authorize_timeout",
							"How long CALL payledger.authorize waits for the PSP's answer.",
							NULL,
							&pl_authorize_timeout, 30000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	DefineCustomStringVariable("payledger.traceparent",
							   "W3C trace context that events written by this session carry.",
							   NULL,
							   &pl_traceparent_setting, "", PGC_USERSET, 0,
							   check_traceparent, NULL, NULL);
	MarkGUCPrefixReserved("payledger");
}

static void
request_shared_memory(void)
{
	Size		size = pl_core_shmem_size();

	size = add_size(size, pl_ledger_shmem_size());
	size = add_size(size, pl_webhook_keys_shmem_size());
	size = add_size(size, pl_worker_shmem_size());
	size = add_size(size, pl_gateway_status_shmem_size());
	if (previous_shmem_request_hook)
		previous_shmem_request_hook();
	RequestAddinShmemSpace(size);
	RequestNamedLWLockTranche("payledger", 1);
	RequestNamedLWLockTranche("payledger webhook keys", 1);
}

static void
start_shared_memory(void)
{
	if (previous_shmem_startup_hook)
		previous_shmem_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	pl_core_shmem_init();
	pl_ledger_shmem_init();
	pl_webhook_keys_shmem_init();
	pl_worker_shmem_init();
	pl_gateway_status_shmem_init();
	LWLockRelease(AddinShmemInitLock);
}

void
_PG_init(void)
{
	/*
	 * Loaded by a session, there would be no settings, no shared memory and no
	 * workers: whatever loads it, CREATE EXTENSION, a function or a trigger,
	 * is told so.
	 */
	if (!process_shared_preload_libraries_in_progress)
		pl_require_preload();

	pl_ledger_init();
	pl_payment_init();
	pl_refund_init();
	pl_dispute_init();
	pl_payout_init();
	pl_command_init();
	pl_settlement_init();
	pl_adapters_init();
	pl_outbox_init();
	pl_log_mask_init();
	pl_wakeup_init();
	pl_remember_settings();
	define_worker_settings();
	define_other_settings();
	pl_check_settings();
	previous_shmem_request_hook = shmem_request_hook;
	shmem_request_hook = request_shared_memory;
	previous_shmem_startup_hook = shmem_startup_hook;
	shmem_startup_hook = start_shared_memory;
	pl_register_workers();
}
