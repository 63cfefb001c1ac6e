/*
 * src/gateway/options.c
 *		The options of gateways: which there are, their checks and defaults.
 *
 * Every adapter has the shared ones; those that speak HTTP also have the
 * transport's; the adapter adds its own and may hide one by another default.
 */
#include "postgres.h"

#include <math.h>

#include "funcapi.h"
#include "gateway/gateway_internal.h"
#include "http/http.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/numeric.h"
#include "utils/tuplestore.h"

#define MAX_TEXT_LENGTH 200

/* a lease must outlive the transfer by this, or a live call would be replayed */
#define LEASE_MARGIN_SECONDS 5

static const PlOption shared_options[] = {
	{"concurrency", PL_OPTION_INT, 0, 10000, NULL, "0",
	"requests in flight at once; 0: payledger.gateway_concurrency"},
	{"rate_per_second", PL_OPTION_NUMBER, 0, 10000, NULL, "0",
	"requests sent in a second; 0: no limit"},
	{"endpoint_rate_per_second", PL_OPTION_NUMBER, 0, 10000, NULL, "0",
	"requests of one kind of operation sent in a second; 0: no limit"},
	{"endpoint_concurrency", PL_OPTION_INT, 0, 10000, NULL, "0",
	"requests of one kind of operation in flight at once; 0: no limit of its own"},
	{"burst", PL_OPTION_INT, 0, 10000, NULL, "0",
	"requests that may be sent at once, beyond the rates, after a quiet time; 0: those of a tenth of a second"},
	{"timeout_ms", PL_OPTION_INT, 50, 600000, NULL, "30000",
	"milliseconds from the start of a request to its whole reply"},
	{"max_attempts", PL_OPTION_INT, 1, 100, NULL, "5",
	"attempts at a request that the PSP answers as not executed; one that cannot be asked is no answer"},
	{"retry_base_ms", PL_OPTION_INT, 1, 600000, NULL, "2000",
	"milliseconds of the first pause between attempts; doubles with each"},
	{"retry_max_ms", PL_OPTION_INT, 1, 3600000, NULL, "60000",
	"milliseconds that no pause between attempts exceeds"},
	{"unknown_max_ms", PL_OPTION_INT, 1, 86400000, NULL, "3600000",
	"milliseconds that no pause between attempts at a request of unknown outcome exceeds; retry_max_ms counts if it is longer"},
	{"unknown_days", PL_OPTION_INT, 1, 365, NULL, "7",
	"days after its first attempt during which the PSP is asked, where it can be, what became of a request of unknown outcome; then an operator decides"},
	{"failover_after_ms", PL_OPTION_INT, 0, 3600000, NULL, "5000",
	"milliseconds after which an authorization that could not be sent, or was not executed, goes to another gateway, if its routing rule names one"},
	{"lease_seconds", PL_OPTION_INT, 6, 3600, NULL, "120",
	"seconds after which a request whose worker vanished is taken over"},
	{"key_window_seconds", PL_OPTION_INT, 1, 30 * 24 * 3600, NULL, NULL,
	"seconds after its first attempt in which a request may be sent again with its key; none: as long as the PSP surely keeps keys"},
	{"multicapture", PL_OPTION_BOOL, 0, 0, NULL, "true",
	"whether an authorization may be captured more than once; else the captures of all sellers are planned onto one"},
	{"keeps_remainder", PL_OPTION_BOOL, 0, 0, NULL, "true",
	"whether the PSP goes on holding what captures leave of an authorization until it is cancelled"},
	{"authorization_days", PL_OPTION_INT, 1, 365, NULL, "7",
	"days after which the PSP lets an authorization expire"},
	{"fee_bps", PL_OPTION_INT, 0, 10000, NULL, NULL,
	"agreed fee of a capture in hundredths of a per cent, with which settlements are compared; none: not compared"},
	{"fee_fixed", PL_OPTION_INT, 0, 1000000, NULL, NULL,
	"fixed part of that fee, minor units"},
	{NULL}
};

static const PlOption http_options[] = {
	{"base_url", PL_OPTION_URL, 0, 0, NULL, NULL,
	"where the PSP's API is: https, or http to a loopback literal; keys go only to hosts of the gateway's section in the secrets file"},
	{"connect_timeout_ms", PL_OPTION_INT, 50, 600000, NULL, "5000",
	"milliseconds for name lookup, connect and TLS handshake"},
	{"circuit_failures", PL_OPTION_INT, 0, 10000, NULL, "10",
	"requests in a row that bring no answer, or one of status 5xx, after which the gateway is left alone; 0: never"},
	{"circuit_open_ms", PL_OPTION_INT, 50, 60000, NULL, "1000",
	"milliseconds until one request probes whether it answers again; doubles up to 60 s while it does not"},
	{"max_reply_bytes", PL_OPTION_INT, 1024, PL_HTTP_REPLY_BUDGET, NULL, "1048576",
	"bytes of reply body beyond which a reply is abandoned"},
	{NULL}
};

static const char *const option_types[] = {
	"integer", "number", "boolean", "text", "choice", "url"
};

/* Names that say that somebody puts a secret where everybody can read it. */
static const char *const secret_words[] = {
	"key", "secret", "password", "passwd", "token", "credential", "authorization", NULL
};

/*
 * The i-th table of options that the adapter has, nearest first; NULL after
 * the last.
 */
static const PlOption *
option_table(const PlAdapter *adapter, int i)
{
	static const PlOption none[] = {{NULL}};

	switch (i)
	{
		case 0:
			return adapter->options ? adapter->options : none;
		case 1:
			return shared_options;
		case 2:
			return adapter->perform ? none : http_options;
		default:
			return NULL;
	}
}

static const PlOption *
find_option(const PlAdapter *adapter, const char *name)
{
	const PlOption *table;

	for (int t = 0; (table = option_table(adapter, t)) != NULL; t++)
		for (const PlOption *option = table; option->name; option++)
			if (strcmp(option->name, name) == 0)
				return option;
	return NULL;
}

static char *
legal_options(const PlAdapter *adapter)
{
	const PlOption *table;
	StringInfoData list;

	initStringInfo(&list);
	for (int t = 0; (table = option_table(adapter, t)) != NULL; t++)
		for (const PlOption *option = table; option->name; option++)
			if (find_option(adapter, option->name) == option)
				appendStringInfo(&list, "%s%s", list.len > 0 ? ", " : "", option->name);
	return list.data;
}

static bool
names_a_secret(const char *name)
{
	char	   *lower = asc_tolower(name, strlen(name));

	for (int i = 0; secret_words[i] != NULL; i++)
		if (strstr(lower, secret_words[i]) != NULL)
			return true;
	return false;
}

pg_noreturn static void
refuse_unknown(const char *gateway, const PlAdapter *adapter, const char *name)
{
	/* the name may be the secret itself when key and value were swapped */
	if (names_a_secret(name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of gateway \"%s\" must not hold a secret", gateway),
				 errdetail("Everybody who may read payledger.gateways could read it."),
				 errhint("Put it into the file that payledger.gateway_secrets_file names, in section [%s].",
						 pl_secrets_section(NULL, gateway))));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("gateway \"%s\" has an unknown option \"%s\"", gateway, name),
			 errhint("Options of adapter %s are %s.", adapter->name, legal_options(adapter))));
}

pg_noreturn static void
refuse_value(const char *gateway, const PlOption *option, const char *wanted)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" of gateway \"%s\" must be %s", option->name, gateway, wanted)));
}

static bool
is_choice(const char *choices, const char *value)
{
	size_t		length = strlen(value);

	for (const char *p = choices; length > 0; p++)
	{
		size_t		n = strcspn(p, "|");

		if (n == length && strncmp(p, value, n) == 0)
			return true;
		p += n;
		if (*p == '\0')
			break;
	}
	return false;
}

static char *
number_value(const char *gateway, const PlOption *option, const JsonbValue *value)
{
	double		number;

	if (value->type != jbvNumeric)
		refuse_value(gateway, option, "a number");
	pl_check_number(psprintf("option \"%s\" of gateway \"%s\"", option->name, gateway), value->val.numeric);
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	if (!(number >= option->min && number <= option->max) ||
		(option->type == PL_OPTION_INT && number != floor(number)))
		refuse_value(gateway, option,
					 psprintf("%s from %.15g to %.15g",
							  option->type == PL_OPTION_INT ? "a whole number" : "a number",
							  option->min, option->max));
	return psprintf("%.15g", number);
}

static char *
string_value(const char *gateway, const PlOption *option, const JsonbValue *value)
{
	char	   *text;

	if (value->type != jbvString)
		refuse_value(gateway, option, "a string");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	pl_check_text(psprintf("option \"%s\" of gateway \"%s\"", option->name, gateway),
				  text, MAX_TEXT_LENGTH);
	if (option->type == PL_OPTION_CHOICE && !is_choice(option->choices, text))
	{
		StringInfoData words;

		initStringInfo(&words);
		appendStringInfoString(&words, "one of ");
		for (const char *p = option->choices; *p; p++)
			appendStringInfoString(&words, *p == '|' ? ", " : (char[]){*p, '\0'});
		refuse_value(gateway, option, words.data);
	}
	return text;
}

static char *
option_value(const char *gateway, const PlOption *option, const JsonbValue *value)
{
	switch (option->type)
	{
		case PL_OPTION_INT:
		case PL_OPTION_NUMBER:
			return number_value(gateway, option, value);
		case PL_OPTION_BOOL:
			if (value->type != jbvBool)
				refuse_value(gateway, option, "true or false");
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return string_value(gateway, option, value);
	}
}

static PlOptionValue *
find_value(PlOptionValue *values, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(values[i].option->name, name) == 0)
			return &values[i];
	return NULL;
}

static int
int_value(PlOptionValue *values, int n, const char *name)
{
	return atoi(find_value(values, n, name)->value);
}

/* Rules between options, and those that must be given. */
static void
check_together(const char *gateway, const PlAdapter *adapter, PlOptionValue *values, int n)
{
	const char *key_window = find_value(values, n, "key_window_seconds")->value;

	for (int i = 0; i < n; i++)
		if (values[i].option->required && values[i].value == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("gateway \"%s\" needs the option \"%s\"", gateway, values[i].option->name),
					 errhint("It is %s.", values[i].option->description)));
	if (key_window != NULL && atoi(key_window) > adapter->key_window)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"key_window_seconds\" of gateway \"%s\" must not exceed %d",
						gateway, adapter->key_window),
				 errdetail("The PSP may forget a key after that, and execute the request a second time.")));
	if (int_value(values, n, "retry_base_ms") > int_value(values, n, "retry_max_ms"))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"retry_base_ms\" of gateway \"%s\" must not exceed retry_max_ms", gateway)));
	if ((int64) int_value(values, n, "lease_seconds") * 1000 <
		(int64) int_value(values, n, "timeout_ms") + LEASE_MARGIN_SECONDS * 1000)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"lease_seconds\" of gateway \"%s\" must exceed timeout_ms by %d seconds",
						gateway, LEASE_MARGIN_SECONDS),
				 errdetail("Otherwise a request that is still under way would be taken over.")));

	if (adapter->perform == NULL)
	{
		const char *url = find_value(values, n, "base_url")->value;

		if (url == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("gateway \"%s\" needs the option \"base_url\"", gateway)));
		pl_check_url(gateway, "base_url", url);
	}
}

/*
 * Check the options of a gateway and complete them by their defaults.  The
 * array is in the current memory context.  Raises 22023 naming the option that
 * is unknown or has a wrong value, PL011 for a card number in one.  Whether the
 * base_url's address is allowed changes with the settings and is not asked here.
 */
PlOptionValue *
pl_options_read(const char *gateway, const PlAdapter *adapter, Jsonb *options, int *noptions)
{
	const PlOption *table;
	int			n = 0;
	int			count = 0;
	PlOptionValue *values;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(options))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of gateway \"%s\" must be a JSON object", gateway)));

	for (int t = 0; (table = option_table(adapter, t)) != NULL; t++)
		for (const PlOption *option = table; option->name; option++)
			count++;
	values = palloc0(count * sizeof(PlOptionValue));
	for (int t = 0; (table = option_table(adapter, t)) != NULL; t++)
		for (const PlOption *option = table; option->name; option++)
			if (find_option(adapter, option->name) == option)
			{
				values[n].option = option;
				values[n++].value = option->fallback ? pstrdup(option->fallback) : NULL;
			}

	it = JsonbIteratorInit(&options->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *name;
		const PlOption *option;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		option = find_option(adapter, name);
		if (option == NULL)
			refuse_unknown(gateway, adapter, name);
		(void) JsonbIteratorNext(&it, &value, true);
		find_value(values, n, name)->value = option_value(gateway, option, &value);
	}
	check_together(gateway, adapter, values, n);
	*noptions = n;
	return values;
}

/*
 * An option of a gateway as text; NULL if it has none.
 */
const char *
pl_option_text(const PlGateway *gateway, const char *name)
{
	PlOptionValue *value = find_value(gateway->options, gateway->noptions, name);

	if (value == NULL)
		elog(ERROR, "adapter %s has no option \"%s\"", gateway->adapter->name, name);
	return value->value;
}

int
pl_option_int(const PlGateway *gateway, const char *name)
{
	const char *value = pl_option_text(gateway, name);

	return value ? atoi(value) : 0;
}

double
pl_option_number(const PlGateway *gateway, const char *name)
{
	const char *value = pl_option_text(gateway, name);

	return value ? strtod(value, NULL) : 0;
}

bool
pl_option_bool(const PlGateway *gateway, const char *name)
{
	const char *value = pl_option_text(gateway, name);

	return value != NULL && strcmp(value, "true") == 0;
}

/*
 * The base_url of an adapter's gateways that name none; NULL if it has none.
 */
const char *
pl_default_base_url(const PlAdapter *adapter)
{
	const PlOption *option = find_option(adapter, "base_url");

	return option ? option->fallback : NULL;
}

PG_FUNCTION_INFO_V1(pl_sql_gateway_options);

/*
 * gateway_options() RETURNS TABLE (adapter, option, type, minimum, maximum,
 * choices, default_value, description)
 */
Datum
pl_sql_gateway_options(PG_FUNCTION_ARGS)
{
	const PlOption *table;
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int a = 0; pl_adapters[a] != NULL; a++)
		for (int t = 0; (table = option_table(pl_adapters[a], t)) != NULL; t++)
			for (const PlOption *option = table; option->name; option++)
			{
				bool		ranged = option->type == PL_OPTION_INT || option->type == PL_OPTION_NUMBER;
				bool		nulls[8] = {false, false, false, !ranged, !ranged,
				option->choices == NULL, option->fallback == NULL, false};
				Datum		values[8] = {0};

				if (find_option(pl_adapters[a], option->name) != option)
					continue;
				values[0] = CStringGetTextDatum(pl_adapters[a]->name);
				values[1] = CStringGetTextDatum(option->name);
				values[2] = CStringGetTextDatum(option_types[option->type]);
				values[3] = Float8GetDatum(option->min);
				values[4] = Float8GetDatum(option->max);
				if (option->choices)
					values[5] = CStringGetTextDatum(option->choices);
				if (option->fallback)
					values[6] = CStringGetTextDatum(option->fallback);
				values[7] = CStringGetTextDatum(option->description);
				tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
			}
	return (Datum) 0;
}
