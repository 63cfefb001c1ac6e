/*
 * src/ledger/accounts.c
 *		Account codes and the accounts behind them: finding, opening at first
 *		use.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "ledger/account_memory.h"
#include "utils/builtins.h"

#define MAX_TYPE_LENGTH 63
#define MAX_ENTITY_LENGTH 128

#define UPPER_CASE "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"
#define LETTERS_AND_DIGITS UPPER_CASE "abcdefghijklmnopqrstuvwxyz" DIGITS

/* The parts of a code; point into one palloc'd copy of it. */
typedef struct AccountName
{
	const char *account_type;
	const char *entity_id;
	const PlCurrency *currency;
} AccountName;

/* what remember_rows() reads */
#define ACCOUNT_COLUMNS(a, t) \
	a ".account_id, " a ".account_code, " a ".account_type, " a ".entity_id, " a ".currency, " \
	a ".ledger, " t ".normal_side = 'DEBIT'"

static PlQuery select_by_code = {
	"SELECT " ACCOUNT_COLUMNS("a", "t") " FROM payledger.accounts a"
	" JOIN payledger.account_types t ON t.account_type = a.account_type"
	" WHERE a.account_code = ANY ($1)", 1, {TEXTARRAYOID}
};

static PlQuery select_by_id = {
	"SELECT " ACCOUNT_COLUMNS("a", "t") " FROM payledger.accounts a"
	" JOIN payledger.account_types t ON t.account_type = a.account_type"
	" WHERE a.account_id = ANY ($1)", 1, {INT8ARRAYOID}
};

/* In the order of the arrays, which are sorted: two openers cannot deadlock. */
static PlQuery insert_accounts = {
	"WITH opened AS ("
	" INSERT INTO payledger.accounts"
	" (account_id, account_code, account_type, entity_id, currency, opened_at)"
	" SELECT i, c, t.account_type, e, u, $6"
	" FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS a(i, c, t, e, u, n)"
	" JOIN payledger.account_types t ON t.account_type = a.t"
	" ORDER BY n"
	" ON CONFLICT (account_code) DO NOTHING"
	" RETURNING *)"
	" SELECT " ACCOUNT_COLUMNS("o", "t") " FROM opened o"
	" JOIN payledger.account_types t ON t.account_type = o.account_type",
	6, {INT8ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID}
};

/* ---- names ---- */

pg_noreturn static void
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
 * Raise 22023 unless code is well formed, PL011 if it holds a card number.
 * Reads no table.
 */
void
pl_check_account_code(const char *code)
{
	(void) parse_code(code);
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
	memcpy(code + type_length + entity_length + 2, currency, strlen(currency) + 1);
	return code;
}

/* ---- finding ---- */

/* Remember the accounts of the last result. */
static void
remember_rows(uint64 n)
{
	for (uint64 i = 0; i < n; i++)
	{
		PlAccount	account;

		account.account_id = pl_get_int64(i, 1);
		account.code = pl_get_text(i, 2);
		account.account_type = pl_get_text(i, 3);
		account.entity_id = pl_get_text(i, 4);
		account.currency = pl_check_currency(pl_get_text(i, 5));
		account.ledger = pl_get_text(i, 6);
		account.sign = pl_get_bool(i, 7) ? 1 : -1;
		pl_remember_account(&account);
	}
}

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
		if (pl_known_account(codes[i]) == NULL)
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
	remember_rows(pl_execute_latest(&select_by_code, &args));
}

/* A copy of the codes that are not remembered, distinct and sorted. */
static const char **
copy_unknown(const char *const *codes, int *n)
{
	const char **unknown = palloc(sizeof(char *) * Max(*n, 1));

	memcpy(unknown, codes, sizeof(char *) * *n);
	*n = unknown_codes(unknown, *n);
	return unknown;
}

/*
 * Remember those of n accounts that exist.  Needs an open SPI connection.
 */
void
pl_find_accounts(const char *const *codes, int n)
{
	const char **unknown = copy_unknown(codes, &n);

	if (n > 0)
		find_by_code(unknown, n);
	pfree(unknown);
}

/*
 * Remember those of n accounts that exist, by their ids.  Needs an open SPI
 * connection.
 */
void
pl_load_accounts(const int64 *ids, int n)
{
	int64	   *unknown = NULL;
	int			nunknown = 0;
	PlArgs		args = {0};

	for (int i = 0; i < n; i++)
		if (pl_known_account_by_id(ids[i]) == NULL)
		{
			if (unknown == NULL)
				unknown = palloc(sizeof(int64) * n);
			unknown[nunknown++] = ids[i];
		}
	if (nunknown == 0)
		return;
	pl_arg_ids(&args, unknown, nunknown);
	remember_rows(pl_execute_latest(&select_by_id, &args));
}

/*
 * The account of that code; PL007 if there is none.  Needs an open SPI
 * connection.
 */
const PlAccount *
pl_require_account(const char *code)
{
	const PlAccount *account;

	pl_find_accounts(&code, 1);
	account = pl_known_account(code);
	if (account == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account \"%s\" does not exist", code),
				 errhint("An account code is TYPE.ENTITY.CURRENCY; payledger.accounts lists them, payledger.open_account() opens one.")));
	return account;
}

/* ---- opening ---- */

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
	pl_arg_timestamp(&args, pl_transaction_now());
	remember_rows(pl_execute(&insert_accounts, &args));
}

/*
 * Remember n accounts, opening in the ledger MAIN those that do not exist:
 * PL007 for an unknown type, 22023 for a malformed code or unknown currency.
 * Opening waits for another session that is opening the same account.  Needs
 * an open SPI connection.
 */
void
pl_open_accounts(const char *const *codes, int n)
{
	const char **missing = copy_unknown(codes, &n);

	if (n > 0)
	{
		find_by_code(missing, n);
		n = unknown_codes(missing, n);
	}
	if (n > 0)
	{
		insert_new(missing, n);
		n = unknown_codes(missing, n);
	}
	if (n > 0)
	{
		find_by_code(missing, n);
		n = unknown_codes(missing, n);
	}
	if (n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("account type \"%s\" does not exist", parse_code(missing[0]).account_type),
				 errdetail("The account code is %s.", missing[0]),
				 errhint("payledger.account_types lists the types.")));
	pfree(missing);
}
