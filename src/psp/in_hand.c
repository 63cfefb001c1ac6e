/*
 * src/psp/in_hand.c
 *		What the gateway worker has in hand, told to the one that comes after it
 *		if it dies.
 *
 * A worker that dies by a signal takes the server's shared memory with it, and
 * a row that is not committed yet says nothing.  So the worker keeps a page of
 * a small file in memory: what it writes there outlives the process, costs a
 * few stores, and needs no disk (only the process has to be outlived; a machine
 * that goes down is known by its boot id).  pg_stat_tmp is where PostgreSQL
 * keeps what no backup needs.
 *
 * "Ended by order" is noted when the process exits by itself, and by the
 * handler of SIGQUIT, which the postmaster sends in an immediate shutdown and
 * when another process died.  A death is an end without that note.
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/file_perm.h"
#include "gateway/gateway.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "psp/psp_internal.h"
#include "storage/fd.h"
#include "storage/ipc.h"

#define PAGE_MAGIC	INT64CONST(0x706c68616e643031)	/* changes with the layout below */
#define PAGE_BYTES	4096
#define BOOT_ID		"/proc/sys/kernel/random/boot_id"
#define BOOT_ID_LENGTH 40

typedef struct HandPage
{
	int64		magic;
	char		boot_id[BOOT_ID_LENGTH];
	int64		lease_token;	/* of the worker; 0: none has begun */
	int			ended;			/* by order */
	PlInHand	in_hand;
	PlInHand	alone;			/* nothing else was under way */
} HandPage;

/* volatile: each store has to be done before the step that may be the last one */
static volatile HandPage *page = NULL;

/* ---- the file ---- */

static void
read_boot_id(char *boot_id)
{
	int			fd = OpenTransientFile(BOOT_ID, O_RDONLY);
	int			n = 0;

	memset(boot_id, 0, BOOT_ID_LENGTH);
	if (fd < 0)
		return;
	n = read(fd, boot_id, BOOT_ID_LENGTH - 1);
	if (n < 0)
		memset(boot_id, 0, BOOT_ID_LENGTH);
	CloseTransientFile(fd);
}

/* The file, as long as it has to be; -1 with errno set if that cannot be. */
static int
open_file(void)
{
	static const char zeros[PAGE_BYTES] = {0};
	char		path[MAXPGPATH];
	int			fd;
	off_t		length;

	snprintf(path, sizeof(path), PG_STAT_TMP_DIR "/payledger_gateway.%u", MyDatabaseId);
	fd = OpenTransientFile(path, O_RDWR | O_CREAT | O_NOFOLLOW | PG_BINARY);
	if (fd < 0)
		return -1;
	length = lseek(fd, 0, SEEK_END);
	/* written, so that no page is missing when the disk is full */
	if (length < PAGE_BYTES && pg_pwrite(fd, zeros, PAGE_BYTES, 0) != PAGE_BYTES)
	{
		CloseTransientFile(fd);
		return -1;
	}
	return fd;
}

static void
map_file(void)
{
	int			fd = open_file();
	void	   *mapped = MAP_FAILED;

	if (fd >= 0)
	{
		mapped = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		CloseTransientFile(fd);
	}
	if (mapped == MAP_FAILED)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not keep what the gateway worker has in hand in \"%s\": %m", PG_STAT_TMP_DIR),
				 errdetail("A request that ends the worker by a signal would be sent again.")));
	else
		page = mapped;
}

/* ---- the end of the process ---- */

static void
ended_by_order(int code, Datum arg)
{
	if (page != NULL)
		page->ended = 1;
}

static void
quit(SIGNAL_ARGS)
{
	if (page != NULL)
		page->ended = 1;
	SignalHandlerForCrashExit(postgres_signal_arg);
}

/* ---- for the worker ---- */

/*
 * What the worker before this one left.  Returns whether it died; then *left
 * says what it had in hand.  Needs the lock of pl_queue_attach().
 */
bool
pl_in_hand_left(PlLeftInHand *left)
{
	char		boot_id[BOOT_ID_LENGTH];

	memset(left, 0, sizeof(PlLeftInHand));
	if (page == NULL)
		map_file();
	if (page == NULL || page->magic != PAGE_MAGIC || page->lease_token == 0 || page->ended ||
		page->lease_token == pl_queue_lease_token())
		return false;
	read_boot_id(boot_id);
	if (memcmp(boot_id, (char *) page->boot_id, BOOT_ID_LENGTH) != 0)
		return false;
	left->lease_token = page->lease_token;
	left->in_hand = *unvolatize(PlInHand *, &page->in_hand);
	left->alone = *unvolatize(PlInHand *, &page->alone);
	left->in_hand.gateway[NAMEDATALEN - 1] = left->alone.gateway[NAMEDATALEN - 1] = '\0';
	return true;
}

/*
 * From now on it is this process' page: what was left is committed.
 */
void
pl_in_hand_begin(void)
{
	static bool registered = false;
	char		boot_id[BOOT_ID_LENGTH];

	if (page == NULL)
		return;
	read_boot_id(boot_id);
	page->magic = 0;
	memset(unvolatize(HandPage *, page), 0, sizeof(HandPage));
	memcpy((char *) page->boot_id, boot_id, BOOT_ID_LENGTH);
	page->lease_token = pl_queue_lease_token();
	page->magic = PAGE_MAGIC;
	if (registered)
		return;
	registered = true;
	on_proc_exit(ended_by_order, 0);
	pqsignal(SIGQUIT, quit);
}

static void
set(volatile PlInHand *what, PlInHandKind kind, int64 payment_id, int64 id, const char *gateway)
{
	what->kind = PL_IN_HAND_NOTHING;
	what->payment_id = payment_id;
	what->id = id;
	strlcpy((char *) what->gateway, gateway, NAMEDATALEN);
	what->kind = kind;
}

static void
set_call(volatile PlInHand *what, const PlCall *call)
{
	if (call->backfill != NULL)
		set(what, PL_IN_HAND_PAGE, 0, 0, call->gateway->name);
	else
		set(what, PL_IN_HAND_REQUEST, call->request.payment_id, call->request.psp_request_id, call->gateway->name);
}

/*
 * The worker does something for this call and nothing else.
 */
void
pl_in_hand_call(const PlCall *call)
{
	if (page != NULL)
		set_call(&page->in_hand, call);
}

/*
 * The worker applies this webhook.
 */
void
pl_in_hand_webhook(const char *gateway, int64 webhook_id)
{
	if (page != NULL)
		set(&page->in_hand, PL_IN_HAND_WEBHOOK, 0, webhook_id, gateway);
}

/*
 * The worker does nothing in particular.
 */
void
pl_in_hand_nothing(void)
{
	if (page != NULL)
		page->in_hand.kind = PL_IN_HAND_NOTHING;
}

/*
 * From now on this request is the only thing the worker is about; 0: no more.
 */
void
pl_in_hand_alone(int64 payment_id, int64 psp_request_id)
{
	if (page == NULL)
		return;
	if (psp_request_id == 0)
		page->alone.kind = PL_IN_HAND_NOTHING;
	else
		set(&page->alone, PL_IN_HAND_REQUEST, payment_id, psp_request_id, "");
}
