/*
 * src/relay/deaths.c
 *		What was the relay sending when it died?
 *
 * An event that kills the process (a fault of a library, a message that takes
 * all memory) would kill each next one, and with each the whole server is
 * started anew.  So a small file says what is being sent.  It is written
 * without a sync, for it has to outlive the process, not the machine, and that
 * costs some microseconds a chunk.  Whoever finds a file that says "sending"
 * sends what it names in smaller parts, in the end one by one; an event that
 * was alone twice when the process died is not sent a third time.
 *
 * What the postmaster tells to end is not to blame, nor is what Kafka has not
 * answered for a second: then the file says so.
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "miscadmin.h"
#include "relay/relay_internal.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "worker/worker.h"

/* as many of the events sent when the process died may go one by one at once */
#define FEW				256
/* of more, such a part */
#define PARTS			64
/* deaths with one and the same event alone, before it is given up */
#define MAX_DEATHS		2

#define LINE_LENGTH		128

typedef struct Sending
{
	PlChunkKind kind;
	int64		first_seq;
	int64		last_seq;
	int			n;				/* 0: nothing */
	int			deaths;			/* before, with this one event alone */
} Sending;

static int	fd = -1;
static char path[MAXPGPATH];
static Sending suspect;			/* under way when the last process died */

/* ---- the file ---- */

/* Its first byte says whether the rest counts. */
static void
write_state(char state)
{
	int			save_errno = errno;

	/* if that is not possible, an innocent event may be sent one by one */
	if (fd >= 0)
		(void) !pwrite(fd, &state, 1, 0);
	errno = save_errno;
}

static void
remove_file(int code, Datum arg)
{
	if (fd < 0)
		return;
	(void) unlink(path);
	(void) close(fd);
	fd = -1;
}

/* The postmaster says: end at once, for somebody else's crash or an immediate shutdown. */
pg_noreturn static void
end_at_once(SIGNAL_ARGS)
{
	write_state('-');
	_exit(2);
}

/* What the last process was sending; n is 0 if it does not say. */
static Sending
read_file(void)
{
	Sending		sending = {0};
	char		line[LINE_LENGTH + 1];
	ssize_t		length = pread(fd, line, LINE_LENGTH, 0);
	int			kind;

	if (length <= 0)
		return sending;
	line[length] = '\0';
	if (sscanf(line, "S %d " INT64_FORMAT " " INT64_FORMAT " %d %d", &kind, &sending.first_seq, &sending.last_seq,
			   &sending.n, &sending.deaths) != 5 ||
		sending.n < 1 || sending.deaths < 0 || kind < PL_CHUNK_WINDOW || kind > PL_CHUNK_REPLAY)
		sending.n = 0;
	sending.kind = (PlChunkKind) kind;
	return sending;
}

/*
 * At the start of the role; that of the process: find out what the last one of this shard died
 * of, and be ready to tell the next.  Without the file all goes on as ever.
 */
void
pl_deaths_begin(int shard)
{
	static bool begun = false;
	char		text[256];

	/* after an error nothing is under way */
	if (begun)
	{
		write_state('-');
		return;
	}
	begun = true;
	snprintf(path, sizeof(path), "payledger.relay_%u_%d", MyDatabaseId, shard);
	fd = BasicOpenFilePerm(path, O_RDWR | O_CREAT | O_NONBLOCK | PG_BINARY, pg_file_create_mode);
	if (fd < 0)
	{
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\": %m", path),
				 errdetail("An event that kills the relay would not be noticed.")));
		return;
	}
	ReserveExternalFD();
	on_proc_exit(remove_file, (Datum) 0);
	pqsignal(SIGQUIT, end_at_once);

	suspect = read_file();
	write_state('-');
	if (suspect.n == 0)
		return;
	suspect.deaths = suspect.n == 1 ? suspect.deaths + 1 : 0;
	if (suspect.n == 1)
		snprintf(text, sizeof(text), "the relay died while it sent the event of seq " INT64_FORMAT, suspect.first_seq);
	else
		snprintf(text, sizeof(text), "the relay died while it sent %d events of seq " INT64_FORMAT " to " INT64_FORMAT,
				 suspect.n, suspect.first_seq, suspect.last_seq);
	pl_worker_warn(text, suspect.n == 1 && suspect.deaths < MAX_DEATHS ?
					 "It is sent alone once more; if that ends the same way it becomes a dead letter." :
					 suspect.n == 1 ? NULL : "They are sent in smaller parts, to find out whether one of them is to blame.");
}

/* ---- what is sent ---- */

static bool
is_suspect(const PlChunk *chunk, int64 seq)
{
	return suspect.n > 0 && chunk->kind == suspect.kind && seq >= suspect.first_seq && seq <= suspect.last_seq;
}

/* How many of the chunk's first n events may go at once. */
int
pl_deaths_limit(const PlChunk *chunk, int n)
{
	int			most;

	if (suspect.n == 0 || n == 0)
		return n;
	most = suspect.n <= FEW ? 1 : suspect.n / PARTS;
	for (int i = 0; i < n; i++)
		if (is_suspect(chunk, chunk->messages[i].seq))
			return i > 0 ? i : Min(n, most);
	return n;
}

/* Did the process die twice while it sent that one event and nothing else? */
bool
pl_deaths_is_killer(const PlChunk *part)
{
	return part->n == 1 && suspect.n == 1 && suspect.deaths >= MAX_DEATHS &&
		is_suspect(part, part->messages[0].seq) && !part->messages[0].parked && !part->messages[0].is_ahead;
}

/* Those of the part are about to be sent. */
void
pl_deaths_sending(const PlChunk *part)
{
	char		line[LINE_LENGTH] = {0};
	int64		first_seq = PG_INT64_MAX;
	int64		last_seq = 0;
	int			deaths;

	if (fd < 0 || part->n == 0)
		return;
	/* dead letters are in the order in which they became that */
	for (int i = 0; i < part->n; i++)
	{
		first_seq = Min(first_seq, part->messages[i].seq);
		last_seq = Max(last_seq, part->messages[i].seq);
	}
	deaths = part->n == 1 && suspect.n == 1 && is_suspect(part, first_seq) ? suspect.deaths : 0;
	snprintf(line, sizeof(line), "S %d " INT64_FORMAT " " INT64_FORMAT " %d %d\n", (int) part->kind,
			 first_seq, last_seq, part->n, deaths);
	(void) !pwrite(fd, line, sizeof(line), 0);
}

/* They are not under way any more, or only wait for Kafka. */
void
pl_deaths_sent(void)
{
	write_state('-');
}
