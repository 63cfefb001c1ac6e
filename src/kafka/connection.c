/*
 * src/kafka/connection.c
 *		Does Kafka talk to us?  What keeps it from doing so comes in several
 *		events, the most telling not last; here the most telling is kept.
 */
#include "postgres.h"

#include "kafka/kafka_internal.h"
#include "worker/worker.h"

/* how long a question may block; signals are served in between */
#define STEP_MS		200
/* with no answer for so long, give up */
#define STALL_MS	10000

typedef enum TroubleRank
{
	RANK_NONE,
	RANK_CLOSED,				/* happens to any connection */
	RANK_UNREACHABLE,			/* may pass by itself */
	RANK_MISMATCH,				/* as this, but somebody is there */
	RANK_REFUSED				/* will not pass before something is changed */
} TroubleRank;

/* What the library says, by its error or by a part of its text; the first that fits counts. */
static const struct
{
	rd_kafka_resp_err_t err;	/* 0: any */
	const char *part;			/* NULL: any */
	TroubleRank rank;
	const char *reason;
	const char *hint;
}			troubles[] = {
	{RD_KAFKA_RESP_ERR_NO_ERROR, "certificate verify failed", RANK_REFUSED,
		"the broker's certificate could not be verified",
		"It must be signed by an authority in ssl.ca.location, be valid today, and name the host by which payledger.kafka_brokers or the broker's advertised.listeners call it."},
	{RD_KAFKA_RESP_ERR_NO_ERROR, " alert ", RANK_REFUSED,
		"the broker refused the TLS connection",
		"If it asks for a client certificate, ssl.certificate.location and ssl.key.location must name one that it trusts."},
	{RD_KAFKA_RESP_ERR__SSL, NULL, RANK_REFUSED,
		"the TLS handshake failed",
		"Is it a listener with TLS? See security.protocol in payledger.kafka_config_file."},
	{RD_KAFKA_RESP_ERR__AUTHENTICATION, "SCRAM", RANK_REFUSED,
		"authentication with SCRAM failed",
		"See sasl.mechanism, sasl.username and sasl.password in payledger.kafka_config_file."},
	{RD_KAFKA_RESP_ERR__AUTHENTICATION, NULL, RANK_REFUSED,
		"authentication failed",
		"See sasl.mechanism, sasl.username and sasl.password in payledger.kafka_config_file."},
	{RD_KAFKA_RESP_ERR_NO_ERROR, "connecting to a SSL listener", RANK_MISMATCH,
		"the broker closed it without an answer",
		"Does the listener expect TLS? See security.protocol in payledger.kafka_config_file."},
	{RD_KAFKA_RESP_ERR_NO_ERROR, "might require SASL", RANK_MISMATCH,
		"the broker closed it at once",
		"Does the listener expect SASL? See security.protocol in payledger.kafka_config_file."},
	{RD_KAFKA_RESP_ERR__RESOLVE, NULL, RANK_UNREACHABLE,
		"the name of a broker could not be resolved",
		"See payledger.kafka_brokers, and advertised.listeners of the brokers."},
	{RD_KAFKA_RESP_ERR_NO_ERROR, "Connection refused", RANK_UNREACHABLE,
		"connection refused",
		"Are the brokers running? See payledger.kafka_brokers, and advertised.listeners of the brokers."},
	{RD_KAFKA_RESP_ERR__TRANSPORT, "Disconnected", RANK_CLOSED,
		"a broker closed it",
		"Are the brokers running? See their log."},
	{RD_KAFKA_RESP_ERR_NO_ERROR, NULL, RANK_CLOSED,
		"no answer",
		"Are the brokers running, and can they be reached from here? See payledger.kafka_brokers."}
};

/* The nonce that 2.6.0 and older send is not the one that RFC 5802 asks for. */
#define FIRST_GOOD_SCRAM	0x02060100

/* of the present producer or consumer; -1: none */
static int	present = -1;
static char present_detail[512];
static bool all_down = false;	/* of the brokers known, not one has let us in */

/* A new producer or consumer, or one that works: there is no trouble. */
void
pl_kafka_forget_trouble(void)
{
	present = -1;
	all_down = false;
}

/*
 * Are we refused for what we are, so that trying again will not help?  One
 * broker that does may be the one that is wrong.
 */
bool
pl_kafka_is_refused(void)
{
	return all_down && present >= 0 && troubles[present].rank == RANK_REFUSED;
}

/* What the operator can do about the present trouble. */
static void
word_hint(PlKafkaTrouble *trouble)
{
	if (strstr(troubles[present].reason, "SCRAM") != NULL && rd_kafka_version() < FIRST_GOOD_SCRAM)
		snprintf(trouble->hint, sizeof(trouble->hint),
				 "%s Kafka 4 refuses SCRAM as librdkafka %s speaks it: use librdkafka 2.6.1 or later, PLAIN with TLS, or a client certificate.",
				 troubles[present].hint, rd_kafka_version_str());
	else
		strlcpy(trouble->hint, troubles[present].hint, sizeof(trouble->hint));
}

/*
 * Show what is the matter with the connection, or else the message, as the
 * worker's last error.
 */
void
pl_kafka_report_silence(const char *message)
{
	PlKafkaTrouble trouble;

	if (present >= 0)
	{
		snprintf(trouble.message, sizeof(trouble.message), "no connection to Kafka: %s", troubles[present].reason);
		word_hint(&trouble);
		pl_kafka_report(&trouble, present_detail);
	}
	else
		pl_worker_report(message, NULL,
						 "The brokers may be overloaded, hang, or have fewer replicas in sync than min.insync.replicas.");
}

/* Which of the table's rows fits. */
static int
find_trouble(rd_kafka_resp_err_t err, const char *text)
{
	int			i = 0;

	while ((troubles[i].err != RD_KAFKA_RESP_ERR_NO_ERROR && troubles[i].err != err) ||
		   (troubles[i].part != NULL && strstr(text, troubles[i].part) == NULL))
		i++;
	return i;
}

/*
 * Keep an error of a connection if it is more telling than what is known; show
 * it if somebody waits for Kafka and it is no everyday matter.
 */
void
pl_kafka_note_trouble(rd_kafka_resp_err_t err, const char *text, bool waiting)
{
	int			found;

	if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN)
	{
		/* it sums up what came before */
		all_down = true;
		return;
	}
	found = find_trouble(err, text);
	if (present >= 0 && troubles[found].rank < troubles[present].rank)
		return;
	present = found;
	pl_kafka_copy_text(present_detail, text, sizeof(present_detail));
	if (waiting && troubles[found].rank > RANK_CLOSED)
		pl_kafka_report_silence(NULL);
}

/*
 * Ask Kafka about a topic, or all that are known to the handle if it is NULL,
 * and have take() called with the answer.  serve() is called while there is
 * none.  Returns false, with the reason in stat_worker, if the settings changed
 * or nobody answers; at once, if we are refused.
 */
bool
pl_kafka_ask(rd_kafka_t *handle, rd_kafka_topic_t *topic, void (*serve) (void),
			 void (*take) (void *arg, const rd_kafka_metadata_topic_t *topic), void *arg)
{
	int64		start = pl_monotonic_ms();

	for (;;)
	{
		const struct rd_kafka_metadata *metadata;

		if (rd_kafka_metadata(handle, 0, topic, &metadata, STEP_MS) == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			for (int i = 0; i < metadata->topic_cnt; i++)
				take(arg, &metadata->topics[i]);
			rd_kafka_metadata_destroy(metadata);
			return true;
		}
		serve();
		pl_worker_interrupts();
		if (pl_kafka_settings_changed())
			return false;
		if (pl_kafka_is_refused() || pl_monotonic_ms() - start >= STALL_MS)
		{
			pl_kafka_report_silence("Kafka has not answered for 10 s");
			return false;
		}
	}
}

static void
warn_of_topic(void *arg, const rd_kafka_metadata_topic_t *topic)
{
	PlKafkaTrouble trouble;
	char		name[256];

	/* a new topic has no leader for a moment */
	if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR || topic->err == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)
		return;
	pl_kafka_copy_text(name, topic->topic, sizeof(name));
	pl_kafka_word_topic(&trouble, name, topic->err);
	pl_worker_warn(trouble.message, trouble.hint);
}

static void
serve_producer(void)
{
	pl_kafka_serve(true);
}

/*
 * Wait until Kafka answers the new producer, and learn about the topics that it
 * was told to expect: what is missing or forbidden is logged, and no error
 * before there is an event for it.  Returns false, with the producer closed and
 * the reason in stat_worker, if Kafka does not answer within 10 s or refuses us,
 * or the settings changed.  Outside of turns only.
 */
bool
pl_kafka_connect(void)
{
	pl_worker_state("connecting to Kafka");
	if (pl_kafka_ask(pl_kafka_producer(), NULL, serve_producer, warn_of_topic, NULL))
	{
		ereport(DEBUG1, (errcode(ERRCODE_SUCCESSFUL_COMPLETION), errmsg_internal("payledger relay: Kafka answers")));
		pl_kafka_forget_trouble();
		return true;
	}
	pl_kafka_close();
	return false;
}
