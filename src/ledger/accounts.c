/*
 * src/ledger/accounts.c
 *		Accounts by code, TYPE.ENTITY.CURRENCY, opened at first use.
 *
 * An account never changes its id, code or currency and is never deleted, so
 * each backend remembers those it has met.  What it met in a transaction that
 * is still open may be the transaction's own and go away with it: such accounts
 * stay provisional until the commit, and an abort (of the subtransaction too)
 * forgets them.  The status of an account does change, and is not remembered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "core/core.h"
#include "funcapi.h"
#include "ledger/ledger.h"
#include "lib/ilist.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define MAX_TYPE_LENGTH 63
#define MAX_ENTITY_LENGTH 128

#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define LETTERS_AND_DIGITS UPPER_CASE "abcdefghijklmnopqrstuvwxyz" DIGITS

/* Forget everything at the end of a transaction that leaves more than this. */
#define MAX_REMEMBERED 20000

typedef struct Account
{
	int64		account_id;		/* hash key */
	char	   *code;
	const PlCurrency *currency;
	SubTransactionId subxact;	/* provisional: the one that met it */
	dlist_node	node;			/* in provisional, if it is */
} Account;

typedef struct AccountByCode
{
	const char *code;			/* hash key */
	Account    *account;
} AccountByCode;

/* The parts of a code; point into one palloc'd copy of it. */
typedef struct AccountName
{
	const char *account_type;
	const char *entity_id;
	const PlCurrency *currency;
} AccountName;

static MemoryContext account_context = NULL;
static HTAB *accounts_by_id = NULL;
static HTAB *accounts_by_code = NULL;
static dlist_head provisional = DLIST_STATIC_INIT(provisional);

/* The table the memory is about: dropped and made anew, it is about nothing. */
static Oid	accounts_relation = InvalidOid;
static bool relation_changed = false;

/* Ids may be in use until the transaction ends, so nothing is dropped before. */
static bool used_in_transaction = false;

static PlQuery select_by_code = {
	"SELECT account_id, account_code, currency FROM payledger.accounts"
	" WHERE account_code = ANY ($1)", 1, {TEXTARRAYOID}
};

static PlQuery select_by_id = {
	"SELECT account_id, account_code, currency FROM payledger.accounts"
	" WHERE account_id = ANY ($1)", 1, {INT8ARRAYOID}
};

/* In the order of the arrays, which are sorted: two openers cannot deadlock. */
static PlQuery insert_accounts = {
	"INSERT INTO payledger.accounts"
	" (account_id, account_code, account_type, entity_id, currency, opened_at)"
	" SELECT i, c, t.account_type, e, u, $6"
	" FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS a(i, c, t, e, u, n)"
	" JOIN payledger.account_types t ON t.account_type = a.t"
	" ORDER BY n"
	" ON CONFLICT (account_code) DO NOTHING"
	" RETURNING account_id, account_code, currency",
	6, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

static PlQuery select_account = {
	"SELECT account_id, account_code, account_type, entity_id, currency, status::text"
	" FROM payledger.accounts WHERE account_id = $1", 1, {INT8OID}
};

PG_FUNCTION_INFO_V1(pl_sql_open_account);

/* ---- what this backend remembers ---- */

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
	dlist_init(&provisional);
	relation_changed = false;
}

static void
forget(Account *account)
{
	char	   *code = account->code;

	dlist_delete(&account->node);
	hash_search(accounts_by_code, &code, HASH_REMOVE, NULL);
	hash_search(accounts_by_id, &account->account_id, HASH_REMOVE, NULL);
	pfree(code);
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
		Account    *account = dlist_container(Account, node, iter.cur);

		if (event == XACT_EVENT_COMMIT)
			dlist_delete(iter.cur);
		else
			forget(account);
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
		Account    *account = dlist_container(Account, node, iter.cur);

		if (account->subxact != mysubid)
			continue;
		if (event == SUBXACT_EVENT_COMMIT_SUB)
			account->subxact = parentsubid;
		else
			forget(account);
	}
}

static void
relation_invalidated(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == accounts_relation)
		relation_changed = true;
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

	account_context = AllocSetContextCreate(CacheMemoryContext, "payledger accounts",
											ALLOCSET_DEFAULT_SIZES);
	by_id.keysize = sizeof(int64);
	by_id.entrysize = sizeof(Account);
	by_id.hcxt = account_context;
	accounts_by_id = hash_create("payledger accounts by id", 256, &by_id,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	by_code.keysize = sizeof(char *);
	by_code.entrysize = sizeof(AccountByCode);
	by_code.hash = hash_code;
	by_code.match = match_code;
	by_code.hcxt = account_context;
	accounts_by_code = hash_create("payledger accounts by code", 256, &by_code,
								   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
}

static void
remember(int64 account_id, const char *code, const PlCurrency *currency)
{
	char	   *copy = MemoryContextStrdup(account_context, code);
	bool		found;
	Account    *account = hash_search(accounts_by_id, &account_id, HASH_ENTER, &found);
	AccountByCode *by_code;

	if (found)
	{
		pfree(copy);
		return;
	}
	account->code = copy;
	account->currency = currency;
	account->subxact = GetCurrentSubTransactionId();
	dlist_push_tail(&provisional, &account->node);
	by_code = hash_search(accounts_by_code, &copy, HASH_ENTER, NULL);
	by_code->account = account;
}

/* Remember the rows (account_id, account_code, currency) of the last result. */
static void
remember_rows(uint64 n)
{
	for (uint64 i = 0; i < n; i++)
		remember(pl_get_int64(i, 1), pl_get_text(i, 2), pl_check_currency(pl_get_text(i, 3)));
}

/*
 * The id of an account that this backend remembers, or 0.
 */
int64
pl_known_account(const char *account_code)
{
	AccountByCode *found;

	prepare_memory();
	found = hash_search(accounts_by_code, &account_code, HASH_FIND, NULL);
	return found ? found->account->account_id : 0;
}

/* ---- names ---- */

static void
malformed(const char *code, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("account code \"%s\" is malformed", code),
			 errdetail("%s", why),
			 errhint("An account code is TYPE.ENTITY.CURRENCY, for example MERCHANT_PAYABLE.SELLER-111.EUR.")));
}

/*
 * Split a code at its first and last dot: the entity may hold dots itself,
 * which make a hierarchy.  Raises 22023 if the code is not well formed.
 */
static AccountName
parse_code(const char *code)
{
	char	   *copy = pstrdup(code);
	char	   *first = strchr(copy, '.');
	char	   *last = strrchr(copy, '.');
	AccountName name;

	if (first == NULL || first == last)
		malformed(code, "It does not have three parts.");
	*first = '\0';
	*last = '\0';
	name.account_type = copy;
	name.entity_id = first + 1;

	if (strspn(copy, UPPER_CASE DIGITS "_") != strlen(copy) ||
		copy[0] < 'A' || copy[0] > 'Z' || strlen(copy) > MAX_TYPE_LENGTH)
		malformed(code, "The type must be upper case letters, digits and underscores.");
	if (strlen(name.entity_id) > MAX_ENTITY_LENGTH)
		malformed(code, psprintf("The entity is longer than %d characters.", MAX_ENTITY_LENGTH));
	for (const char *part = name.entity_id; part != NULL;)
	{
		size_t		length = strspn(part, LETTERS_AND_DIGITS "_:-");

		if (length == 0 || strchr("_:-", part[0]) != NULL ||
			(part[length] != '\0' && part[length] != '.'))
			malformed(code, "Each dotted part of the entity must begin with a letter or digit and hold letters, digits, '_', ':' and '-' only.");
		part = part[length] == '.' ? part + length + 1 : NULL;
	}
	pl_refuse_card_data("entity_id", name.entity_id);
	name.currency = pl_check_currency(last + 1);
	return name;
}

/*
 * TYPE.ENTITY.CURRENCY, palloc'd.
 */
char *
pl_account_code(const char *account_type, const char *entity_id, const char *currency)
{
	Size		type_length = strlen(account_type);
	Size		entity_length = strlen(entity_id);
	char	   *code = palloc(type_length + entity_length + strlen(currency) + 3);

	memcpy(code, account_type, type_length);
	code[type_length] = '.';
	memcpy(code + type_length + 1, entity_id, entity_length);
	code[type_length + 1 + entity_length] = '.';
	strcpy(code + type_length + entity_length + 2, currency);
	return code;
}

/* ---- finding and opening ---- */

static int
compare_codes(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/*
 * Of n codes keep the distinct ones that are not remembered, sorted.
 */
static int
unknown_codes(const char **codes, int n)
{
	int			kept = 0;

	for (int i = 0; i < n; i++)
		if (pl_known_account(codes[i]) == 0)
			codes[kept++] = codes[i];
	n = kept;
	qsort(codes, n, sizeof(char *), compare_codes);
	kept = 0;
	for (int i = 0; i < n; i++)
		if (kept == 0 || strcmp(codes[kept - 1], codes[i]) != 0)
			codes[kept++] = codes[i];
	return kept;
}

static void
find_by_code(const char **codes, int n)
{
	Datum	   *values = palloc(sizeof(Datum) * n);
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		values[i] = CStringGetTextDatum(codes[i]);
	pl_arg_array(&args, values, NULL, n, TEXTOID);
	remember_rows(pl_execute(&select_by_code, &args));
}

/* Insert what is new; what another session inserts first is left out. */
static void
insert_new(const char **codes, int n)
{
	Datum	   *columns[5];
	PlArgs		args = {0};

	for (int c = 0; c < (int) lengthof(columns); c++)
		columns[c] = palloc(sizeof(Datum) * n);
	for (int i = 0; i < n; i++)
	{
		AccountName name = parse_code(codes[i]);

		columns[0][i] = Int64GetDatum(pl_next_id());
		columns[1][i] = CStringGetTextDatum(codes[i]);
		columns[2][i] = CStringGetTextDatum(name.account_type);
		columns[3][i] = CStringGetTextDatum(name.entity_id);
		columns[4][i] = CStringGetTextDatum(name.currency->code);
	}
	pl_arg_array(&args, columns[0], NULL, n, INT8OID);
	for (int c = 1; c < (int) lengthof(columns); c++)
		pl_arg_array(&args, columns[c], NULL, n, TEXTOID);
	pl_arg_timestamp(&args, GetCurrentTransactionStartTimestamp());
	remember_rows(pl_execute(&insert_accounts, &args));
}

/*
 * The ids of n accounts by their codes, opening those that do not exist:
 * PL007 for an unknown type, 22023 for a malformed code or unknown currency.
 * Opening waits for another session that is opening the same account.  Needs
 * an open SPI connection.
 */
void
pl_open_accounts(const char *const *codes, int64 *ids, int n)
{
	const char **missing = palloc(sizeof(char *) * Max(n, 1));
	int			nmissing;

	memcpy(missing, codes, sizeof(char *) * n);
	nmissing = unknown_codes(missing, n);
	if (nmissing > 0)
	{
		find_by_code(missing, nmissing);
		nmissing = unknown_codes(missing, nmissing);
	}
	if (nmissing > 0)
	{
		insert_new(missing, nmissing);
		nmissing = unknown_codes(missing, nmissing);
	}
	if (nmissing > 0)
	{
		find_by_code(missing, nmissing);
		nmissing = unknown_codes(missing, nmissing);
	}
	if (nmissing > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account type \"%s\" does not exist", parse_code(missing[0]).account_type),
				 errdetail("The account code is %s.", missing[0]),
				 errhint("payledger.account_types lists the types.")));
	for (int i = 0; i < n; i++)
		ids[i] = pl_known_account(codes[i]);
	pfree(missing);
}

/*
 * The id of one account, opening it at first use; see pl_open_accounts().
 */
int64
pl_account_id(const char *account_type, const char *entity_id, const char *currency)
{
	char	   *code = pl_account_code(account_type, entity_id, currency);
	const char *codes[1] = {code};
	int64		account_id = pl_known_account(code);

	if (account_id == 0)
		pl_open_accounts(codes, &account_id, 1);
	pfree(code);
	return account_id;
}

/*
 * Remember those of n accounts that exist, with one query, for
 * pl_account_currency().  Needs an open SPI connection.
 */
void
pl_load_accounts(const int64 *ids, int n)
{
	Datum	   *values = NULL;
	int			nvalues = 0;
	PlArgs		args = {0};

	prepare_memory();
	for (int i = 0; i < n; i++)
		if (hash_search(accounts_by_id, &ids[i], HASH_FIND, NULL) == NULL)
		{
			if (values == NULL)
				values = palloc(sizeof(Datum) * n);
			values[nvalues++] = Int64GetDatum(ids[i]);
		}
	if (nvalues == 0)
		return;
	pl_arg_array(&args, values, NULL, nvalues, INT8OID);
	remember_rows(pl_execute(&select_by_id, &args));
}

/*
 * The currency of an account: a static string.  PL007 if there is no such
 * account.  Needs an open SPI connection.
 */
const char *
pl_account_currency(int64 account_id)
{
	Account    *account;

	prepare_memory();
	account = hash_search(accounts_by_id, &account_id, HASH_FIND, NULL);
	if (account == NULL)
	{
		pl_load_accounts(&account_id, 1);
		account = hash_search(accounts_by_id, &account_id, HASH_FIND, NULL);
	}
	if (account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account " INT64_FORMAT " does not exist", account_id)));
	return account->currency->code;
}

/*
 * open_account(account_type text, entity_id text, currency text)
 */
Datum
pl_sql_open_account(PG_FUNCTION_ARGS)
{
	char	   *account_type = pl_text_arg(fcinfo, 0, "account_type");
	char	   *entity_id = pl_text_arg(fcinfo, 1, "entity_id");
	char	   *currency = pl_text_arg(fcinfo, 2, "currency");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	pl_arg_int64(&args, pl_account_id(account_type, entity_id, currency));
	pl_execute(&select_account, &args);
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}
