/*
 * src/kafka/transactions.c
 *		Transactions of the Kafka producer.
 *
 * The library's calls block, so each is made for a moment only and repeated:
 * all of them may be called again after they timed out and then go on where
 * they were.  Whatever else goes wrong, the producer is destroyed and never
 * used again; the next one's pl_kafka_init_transactions() makes the broker
 * decide what became of its last transaction.
 */
#include "postgres.h"

#include "kafka/kafka_internal.h"
#include "worker/worker.h"

/* how long a call may block; signals are served in between */
#define STEP_MS		200
/* with no answer for so long, say so */
#define STALL_MS	10000

static bool fenced = false;

/*
 * If the producer was fenced, another relay with the same identity has begun
 * its work.  Remember it before the producer is destroyed.
 */
void
pl_kafka_note_fencing(void)
{
	rd_kafka_t *producer = pl_kafka_producer();
	rd_kafka_resp_err_t err = producer ? rd_kafka_fatal_error(producer, NULL, 0) : RD_KAFKA_RESP_ERR_NO_ERROR;

	if (err == RD_KAFKA_RESP_ERR__FENCED || err == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
		err == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH)
		fenced = true;
}

/* Was a producer fenced since the last call? */
bool
pl_kafka_was_fenced(void)
{
	bool		result = fenced;

	fenced = false;
	return result;
}

/*
 * Repeat a call until it is through.  Returns false, with the producer closed,
 * if it failed or the settings changed meanwhile.
 */
static bool
repeat(rd_kafka_error_t *(*call) (rd_kafka_t *, int), const char *what)
{
	int64		start = pl_monotonic_ms();
	bool		stall_reported = false;

	for (;;)
	{
		rd_kafka_error_t *error = call(pl_kafka_producer(), STEP_MS);
		rd_kafka_resp_err_t err;
		bool		again;
		char		text[512];

		pl_kafka_serve(true);
		if (error == NULL)
			return true;
		err = rd_kafka_error_code(error);
		again = rd_kafka_error_is_retriable(error);
		snprintf(text, sizeof(text), "%s failed: %s", what, rd_kafka_error_string(error));
		rd_kafka_error_destroy(error);

		if (!again)
		{
			pl_kafka_give_up(err, text);
			return false;
		}
		pl_worker_interrupts();
		if (pl_kafka_settings_changed())
		{
			pl_kafka_close();
			return false;
		}
		if (pl_monotonic_ms() - start >= STALL_MS)
		{
			if (!stall_reported)
			{
				snprintf(text, sizeof(text), "%s takes longer than 10 s", what);
				pl_worker_state("waiting for Kafka");
				pl_kafka_report_silence(text);
			}
			stall_reported = true;
			/* only another producer may be let in */
			if (pl_kafka_is_refused())
			{
				pl_kafka_close();
				return false;
			}
		}
	}
}

/*
 * Fence every other producer with this one's transactional id and have the
 * transaction it may have left behind committed or aborted.  Call it once for
 * each new producer.  Returns false, with the producer closed, if that failed.
 */
bool
pl_kafka_init_transactions(void)
{
	return repeat(rd_kafka_init_transactions, "initializing Kafka transactions");
}

/*
 * Begin a transaction.  Returns false, with the producer closed, if it cannot.
 */
bool
pl_kafka_begin(void)
{
	rd_kafka_error_t *error = rd_kafka_begin_transaction(pl_kafka_producer());
	rd_kafka_resp_err_t err;
	char		text[512];

	if (error == NULL)
		return true;
	snprintf(text, sizeof(text), "beginning a Kafka transaction failed: %s", rd_kafka_error_string(error));
	err = rd_kafka_error_code(error);
	rd_kafka_error_destroy(error);
	pl_kafka_give_up(err, text);
	return false;
}

/*
 * Commit the transaction, all of whose messages have been acknowledged.
 * Returns false, with the producer closed, if it is not known to be committed:
 * it may be.
 */
bool
pl_kafka_commit(void)
{
	return repeat(rd_kafka_commit_transaction, "committing a Kafka transaction");
}
