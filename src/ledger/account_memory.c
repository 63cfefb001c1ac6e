/*
 * src/ledger/account_memory.c
 *		The accounts that this backend has met.
 *
 * Type, entity, currency and ledger of an account never change and no account
 * is ever deleted, so what was read once holds for the life of the backend.
 * What this transaction opened may yet go away with it: such accounts stay
 * provisional until the commit, and an abort (of the subtransaction too)
 * forgets them.
 *
 * Status and limits of an account do change.  What is remembered is only that
 * an account had none that keep entries from being posted, in a generation: the
 * trigger announce_restriction invalidates the relation, which begins the next
 * generation before a post can have locked the journal.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "common/hashfn.h"
#include "ledger/account_memory.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

/* Forget everything at the end of a transaction that leaves more than this. */
#define MAX_REMEMBERED 20000

typedef struct Remembered
{
	PlAccount	account;		/* account_id, its first member, is the hash key */
	SubTransactionId subxact;	/* provisional: the one that met it */
	dlist_node	node;			/* in provisional, if it is */
} Remembered;

typedef struct RememberedCode
{
	const char *code;			/* hash key */
	Remembered *remembered;
} RememberedCode;

static MemoryContext account_context = NULL;
static HTAB *accounts_by_id = NULL;
static HTAB *accounts_by_code = NULL;
static List *ledger_names = NIL;
static dlist_head provisional = DLIST_STATIC_INIT(provisional);

/* The table the memory is about: dropped and made anew, it is about nothing. */
static Oid	accounts_relation = InvalidOid;
static bool relation_changed = false;
static Oid	ledgers_relation = InvalidOid;
static uint64 restrictions_generation = 1;

/* Accounts may be in use until the transaction ends, so nothing is dropped before. */
static bool used_in_transaction = false;

static uint32
hash_code(const void *key, Size keysize)
{
	const char *code = *(const char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) code, strlen(code)));
}

static int
match_code(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

static void
forget_all(void)
{
	if (account_context != NULL)
		MemoryContextDelete(account_context);
	account_context = NULL;
	accounts_by_id = NULL;
	accounts_by_code = NULL;
	ledger_names = NIL;
	dlist_init(&provisional);
	relation_changed = false;
}

static void
forget(Remembered *remembered)
{
	const char *code = remembered->account.code;

	dlist_delete(&remembered->node);
	hash_search(accounts_by_code, &code, HASH_REMOVE, NULL);
	hash_search(accounts_by_id, &remembered->account.account_id, HASH_REMOVE, NULL);
}

static void
end_of_transaction(XactEvent event, void *arg)
{
	dlist_mutable_iter iter;

	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	used_in_transaction = false;
	if (accounts_by_id != NULL && hash_get_num_entries(accounts_by_id) > MAX_REMEMBERED)
		forget_all();

	/* nobody knows what will become of a prepared transaction */
	dlist_foreach_modify(iter, &provisional)
	{
		Remembered *remembered = dlist_container(Remembered, node, iter.cur);

		if (event == XACT_EVENT_COMMIT)
			dlist_delete(iter.cur);
		else
			forget(remembered);
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mysubid,
					  SubTransactionId parentsubid, void *arg)
{
	dlist_mutable_iter iter;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	dlist_foreach_modify(iter, &provisional)
	{
		Remembered *remembered = dlist_container(Remembered, node, iter.cur);

		if (remembered->subxact != mysubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			remembered->subxact = parentsubid;
		else
			forget(remembered);
	}
}

static void
relation_invalidated(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == accounts_relation)
		relation_changed = true;
	if (relation == InvalidOid || relation == accounts_relation || relation == ledgers_relation)
		restrictions_generation++;
}

/*
 * Make the memory ready.  An alteration of the table (rare) empties it at the
 * first use in a transaction.
 */
static void
prepare_memory(void)
{
	static bool registered = false;
	HASHCTL		by_id = {0};
	HASHCTL		by_code = {0};

	if (relation_changed && !used_in_transaction)
		forget_all();
	used_in_transaction = true;
	if (account_context != NULL)
		return;

	if (!registered)
	{
		RegisterXactCallback(end_of_transaction, NULL);
		RegisterSubXactCallback(end_of_subtransaction, NULL);
		CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
		registered = true;
	}
	accounts_relation = get_relname_relid("accounts", get_namespace_oid("payledger", false));
	ledgers_relation = get_relname_relid("ledgers", get_namespace_oid("payledger", false));

	account_context = AllocSetContextCreate(CacheMemoryContext, "payledger accounts",
											ALLOCSET_DEFAULT_SIZES);
	by_id.keysize = sizeof(int64);
	by_id.entrysize = sizeof(Remembered);
	by_id.hcxt = account_context;
	accounts_by_id = hash_create("payledger accounts by id", 256, &by_id,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	by_code.keysize = sizeof(char *);
	by_code.entrysize = sizeof(RememberedCode);
	by_code.hash = hash_code;
	by_code.match = match_code;
	by_code.hcxt = account_context;
	accounts_by_code = hash_create("payledger accounts by code", 256, &by_code,
								   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

/* The one copy of a ledger's name. */
static const char *
ledger_name(const char *ledger)
{
	ListCell   *cell;
	char	   *copy;

	foreach(cell, ledger_names)
		if (strcmp(lfirst(cell), ledger) == 0)
			return lfirst(cell);
	copy = pstrdup(ledger);
	ledger_names = lappend(ledger_names, copy);
	return copy;
}

/*
 * Remember an account; strings are copied.  Provisional until the transaction
 * commits.
 */
void
pl_remember_account(const PlAccount *account)
{
	MemoryContext oldcontext;
	bool		found;
	Remembered *remembered;
	RememberedCode *by_code;

	prepare_memory();
	remembered = hash_search(accounts_by_id, &account->account_id, HASH_ENTER, &found);
	if (found)
		return;
	oldcontext = MemoryContextSwitchTo(account_context);
	remembered->account.code = pstrdup(account->code);
	remembered->account.account_type = pstrdup(account->account_type);
	remembered->account.entity_id = pstrdup(account->entity_id);
	remembered->account.ledger = ledger_name(account->ledger);
	remembered->account.currency = account->currency;
	remembered->account.sign = account->sign;
	remembered->account.unrestricted_in = 0;
	remembered->subxact = GetCurrentSubTransactionId();
	dlist_push_tail(&provisional, &remembered->node);
	MemoryContextSwitchTo(oldcontext);
	by_code = hash_search(accounts_by_code, &remembered->account.code, HASH_ENTER, NULL);
	by_code->remembered = remembered;
}

/*
 * The account of that code if this backend remembers it, or NULL.
 */
const PlAccount *
pl_known_account(const char *code)
{
	RememberedCode *found;

	prepare_memory();
	found = hash_search(accounts_by_code, &code, HASH_FIND, NULL);
	return found ? &found->remembered->account : NULL;
}

/* The same by its id. */
const PlAccount *
pl_known_account_by_id(int64 account_id)
{
	prepare_memory();
	return hash_search(accounts_by_id, &account_id, HASH_FIND, NULL);
}

/*
 * The present generation of what restricts posts; read it after locking the
 * journal and before reading the restrictions.
 */
uint64
pl_restrictions_generation(void)
{
	return restrictions_generation;
}

/* Remember that nothing restricted an account in that generation. */
void
pl_remember_unrestricted(int64 account_id, uint64 generation)
{
	Remembered *remembered = hash_search(accounts_by_id, &account_id, HASH_FIND, NULL);

	if (remembered != NULL)
		remembered->account.unrestricted_in = generation;
}
