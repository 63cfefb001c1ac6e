/*
 * src/gateway/gateways.c
 *		The rows of payledger.gateways: made by functions, checked on every
 *		path by a trigger, kept by the worker until they change.
 *
 * A change sends an invalidation of the table's relcache entry, which reaches
 * the worker with the commit.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "gateway/gateway_internal.h"
#include "http/http.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#define MAX_NAME_LENGTH 63

static PlQuery select_gateways = {
	"SELECT gateway, adapter, options FROM payledger.gateways ORDER BY gateway", 0
};

static PlQuery insert_gateway = {
	"INSERT INTO payledger.gateways (gateway, adapter, options, is_default) VALUES ($1, $2, $3, $4)"
	" ON CONFLICT (gateway) DO NOTHING RETURNING gateway, adapter, options, is_default",
	4, {TEXTOID, TEXTOID, JSONBOID, BOOLOID}
};

static PlQuery update_gateway = {
	"UPDATE payledger.gateways SET options = pg_catalog.jsonb_strip_nulls(options || coalesce($2, '{}')),"
	" is_default = coalesce($3, is_default)"
	" WHERE gateway = $1 RETURNING gateway, adapter, options, is_default",
	3, {TEXTOID, JSONBOID, BOOLOID}
};

static PlQuery unset_default = {
	"UPDATE payledger.gateways SET is_default = false WHERE is_default AND gateway <> $1",
	1, {TEXTOID}
};

/* The worker's copies, and whether they are still right. */
static List *gateways = NIL;
static uint64 invalidations = 1;
static uint64 read_at = 0;		/* invalidations when they were read */
static Oid	gateways_relation = InvalidOid;

PG_FUNCTION_INFO_V1(pl_sql_add_gateway);
PG_FUNCTION_INFO_V1(pl_sql_alter_gateway);
PG_FUNCTION_INFO_V1(pl_sql_check_gateway);
PG_FUNCTION_INFO_V1(pl_sql_gateways_changed);

/* ---- functions ---- */

static void
check_name(const char *name)
{
	size_t		length = strlen(name);
	bool		right = length > 0 && length <= MAX_NAME_LENGTH && isalnum((unsigned char) name[0]);

	for (const char *p = name; right && *p; p++)
		right = !IS_HIGHBIT_SET(*p) && (isalnum((unsigned char) *p) || *p == '_' || *p == '-');
	if (!right)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("gateway name must be 1 to %d letters, digits, hyphens and underscores, the first a letter or digit",
						MAX_NAME_LENGTH)));
	pl_refuse_card_data("gateway name", name);
}

static const PlAdapter *
require_adapter(const char *gateway, const char *name)
{
	const PlAdapter *adapter = pl_find_adapter(name);

	if (adapter == NULL)
	{
		StringInfoData list;

		initStringInfo(&list);
		for (int i = 0; pl_adapters[i] != NULL; i++)
			appendStringInfo(&list, "%s%s", i > 0 ? ", " : "", pl_adapters[i]->name);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("gateway \"%s\" names no known adapter", gateway),
				 errdetail("There is no adapter \"%s\".", name),
				 errhint("Adapters are %s.", list.data)));
	}
	return adapter;
}

/* Only one gateway is the default, so the others give way. */
static void
make_default(const char *gateway)
{
	PlArgs		args = {0};

	pl_arg_text(&args, gateway);
	pl_execute(&unset_default, &args);
}

/*
 * add_gateway(name, adapter, options, is_default)
 *		RETURNS TABLE (gateway, adapter, options, is_default)
 */
Datum
pl_sql_add_gateway(PG_FUNCTION_ARGS)
{
	char	   *name = pl_text_arg(fcinfo, 0, "name");
	char	   *adapter = pl_text_arg(fcinfo, 1, "adapter");
	bool		is_default = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	check_name(name);
	if (is_default)
		make_default(name);
	pl_arg_text(&args, name);
	pl_arg_text(&args, adapter);
	pl_arg(&args, PG_ARGISNULL(2) ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))
		   : PG_GETARG_DATUM(2));
	pl_arg_bool(&args, is_default);
	if (pl_execute(&insert_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("gateway \"%s\" exists already", name),
				 errhint("Change it with payledger.alter_gateway.")));
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/*
 * alter_gateway(name, options, is_default)
 *		RETURNS TABLE (gateway, adapter, options, is_default)
 *
 * The given options replace those of the same name; null takes one away.
 */
Datum
pl_sql_alter_gateway(PG_FUNCTION_ARGS)
{
	char	   *name = pl_text_arg(fcinfo, 0, "name");
	PlArgs		args = {0};

	pl_connect();
	pl_require_layout();
	if (!PG_ARGISNULL(1) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options of gateway \"%s\" must be a JSON object", name)));
	if (!PG_ARGISNULL(2) && PG_GETARG_BOOL(2))
		make_default(name);
	pl_arg_text(&args, name);
	if (PG_ARGISNULL(1))
		pl_arg_null(&args);
	else
		pl_arg(&args, PG_GETARG_DATUM(1));
	if (PG_ARGISNULL(2))
		pl_arg_null(&args);
	else
		pl_arg_bool(&args, PG_GETARG_BOOL(2));
	if (pl_execute(&update_gateway, &args) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PL_NOT_FOUND),
				 errmsg("gateway \"%s\" does not exist", name),
				 errhint("Add it with payledger.add_gateway.")));
	pl_return_rows(fcinfo);
	pl_finish();
	return (Datum) 0;
}

/* ---- triggers ---- */

/*
 * The row with what the gateway can do, as adapter and options say; the
 * payment room reads it there.
 */
static HeapTuple
with_capabilities(const TriggerData *trigger, HeapTuple row, const PlGateway *gateway)
{
	static const char *const columns[] = {
		"multicapture", "keeps_remainder", "authorization_days", "pays_out", "fee_bps", "fee_fixed"
	};
	static const Oid types[] = {BOOLOID, BOOLOID, INT4OID, BOOLOID, INT4OID, INT8OID};
	int			numbers[lengthof(columns)];
	Datum		values[lengthof(columns)];
	bool		nulls[lengthof(columns)] = {false};

	for (int i = 0; i < (int) lengthof(columns); i++)
		numbers[i] = pl_trigger_column(trigger, columns[i], types[i]);
	values[0] = BoolGetDatum(pl_option_bool(gateway, "multicapture"));
	values[1] = BoolGetDatum(pl_option_bool(gateway, "keeps_remainder"));
	values[2] = Int32GetDatum(pl_option_int(gateway, "authorization_days"));
	values[3] = BoolGetDatum(gateway->adapter->pays_out);
	nulls[4] = pl_option_text(gateway, "fee_bps") == NULL;
	values[4] = nulls[4] ? (Datum) 0 : Int32GetDatum(pl_option_int(gateway, "fee_bps"));
	nulls[5] = pl_option_text(gateway, "fee_fixed") == NULL;
	values[5] = nulls[5] ? (Datum) 0 : Int64GetDatum(pl_option_int(gateway, "fee_fixed"));
	return heap_modify_tuple_by_cols(row, RelationGetDescr(trigger->tg_relation), lengthof(columns), numbers, values, nulls);
}

/*
 * check_gateway(): BEFORE INSERT OR UPDATE row trigger of gateways.  Raises
 * 22023 for an unknown adapter or option, 42501 for an address that only a
 * superuser may allow, PL003 for a changed adapter.
 */
Datum
pl_sql_check_gateway(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	tupdesc;
	HeapTuple	row;
	PlGateway	gateway = {0};
	char	   *adapter;
	Datum		options;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_BEFORE(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("check_gateway must be called as a BEFORE INSERT OR UPDATE row trigger")));

	tupdesc = RelationGetDescr(trigger->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newtuple : trigger->tg_trigtuple;
	gateway.name = SPI_getvalue(row, tupdesc, pl_trigger_column(trigger, "gateway", TEXTOID));
	adapter = SPI_getvalue(row, tupdesc, pl_trigger_column(trigger, "adapter", TEXTOID));
	options = SPI_getbinval(row, tupdesc, pl_trigger_column(trigger, "options", JSONBOID), &isnull);
	if (gateway.name == NULL || adapter == NULL || isnull)
		return PointerGetDatum(row);	/* the column's NOT NULL says it better */

	check_name(gateway.name);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) &&
		(strcmp(pl_trigger_text(trigger, trigger->tg_trigtuple, "adapter"), adapter) != 0 ||
		 strcmp(pl_trigger_text(trigger, trigger->tg_trigtuple, "gateway"), gateway.name) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
				 errmsg("name and adapter of gateway \"%s\" must not change",
						pl_trigger_text(trigger, trigger->tg_trigtuple, "gateway")),
				 errhint("Add another gateway and make it the default.")));
	gateway.adapter = require_adapter(gateway.name, adapter);
	gateway.options = pl_options_read(gateway.name, gateway.adapter, DatumGetJsonbP(options), &gateway.noptions);
	if (gateway.adapter->perform == NULL)
		pl_require_public(gateway.name, "base_url", pl_option_text(&gateway, "base_url"));
	return PointerGetDatum(with_capabilities(trigger, row, &gateway));
}

/*
 * gateways_changed(): AFTER statement trigger of gateways; the gateway worker
 * reads them again after the commit.
 */
Datum
pl_sql_gateways_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("gateways_changed must be called as an AFTER statement trigger")));

	CacheInvalidateRelcache(trigger->tg_relation);
	pl_wake_at_commit(PL_ROLE_GATEWAY);
	return PointerGetDatum(NULL);
}

/* ---- the worker's copies ---- */

/* May not look at catalogs: it runs in the middle of anything. */
static void
note_invalidation(Datum arg, Oid relation)
{
	if (relation == InvalidOid || relation == gateways_relation)
		invalidations++;
}

static void
free_gateway(PlGateway *gateway)
{
	pl_http_forget(&gateway->peer);
	MemoryContextDelete(gateway->context);
}

/*
 * One call less points to the gateway.
 */
void
pl_gateway_release(PlGateway *gateway)
{
	Assert(gateway->in_flight > 0);
	if (--gateway->in_flight == 0 && gateway->retired)
		free_gateway(gateway);
}

static void
read_options(PlGateway *gateway, Jsonb *options)
{
	gateway->options = pl_options_read(gateway->name, gateway->adapter, options, &gateway->noptions);
	gateway->max_attempts = pl_option_int(gateway, "max_attempts");
	gateway->retry_base_ms = pl_option_int(gateway, "retry_base_ms");
	gateway->retry_max_ms = pl_option_int(gateway, "retry_max_ms");
	gateway->unknown_max_ms = pl_option_int(gateway, "unknown_max_ms");
	gateway->unknown_days = pl_option_int(gateway, "unknown_days");
	gateway->failover_after_ms = pl_option_int(gateway, "failover_after_ms");
	gateway->lease_seconds = pl_option_int(gateway, "lease_seconds");
	gateway->timeout_ms = pl_option_int(gateway, "timeout_ms");
	gateway->key_window = pl_option_int(gateway, "key_window_seconds");
	if (gateway->key_window == 0)
		gateway->key_window = gateway->adapter->key_window;
	if (gateway->adapter->perform == NULL)
	{
		const char *home = pl_default_base_url(gateway->adapter);

		pl_url_endpoint(pl_option_text(gateway, "base_url"), &gateway->endpoint);
		if (home != NULL)
			pl_url_endpoint(home, &gateway->home);
	}
	pl_limits_configure(gateway);
}

/*
 * Options that another version accepted must not stop the other gateways: the
 * reason is kept instead.
 */
static void
read_options_safely(PlGateway *gateway, Jsonb *options)
{
	MemoryContext oldcontext = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(gateway->context);
	PG_TRY();
	{
		read_options(gateway, options);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(gateway->context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		gateway->problem = error->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(oldcontext);
	CurrentResourceOwner = owner;
}

static PlGateway *
new_gateway(const char *name, const char *adapter, Jsonb *options, const char *definition)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext, "payledger gateway",
												  ALLOCSET_SMALL_SIZES);
	PlGateway  *gateway = MemoryContextAllocZero(context, sizeof(PlGateway));

	gateway->context = context;
	gateway->name = MemoryContextStrdup(context, name);
	gateway->definition = MemoryContextStrdup(context, definition);
	gateway->adapter = pl_find_adapter(adapter);
	if (gateway->adapter == NULL)
		gateway->problem = MemoryContextStrdup(context,
											   psprintf("gateway \"%s\" names no known adapter", name));
	else
		read_options_safely(gateway, options);
	return gateway;
}

/* The present copy of a row that has not changed, or NULL. */
static PlGateway *
find_unchanged(const char *name, const char *definition)
{
	ListCell   *cell;

	foreach(cell, gateways)
	{
		PlGateway  *gateway = lfirst(cell);

		if (strcmp(gateway->name, name) == 0 && strcmp(gateway->definition, definition) == 0)
			return gateway;
	}
	return NULL;
}

/* Put the new list in the place of the old one. */
static void
replace_gateways(List *loaded)
{
	List	   *old = gateways;
	MemoryContext oldcontext = MemoryContextSwitchTo(TopMemoryContext);
	ListCell   *cell;

	gateways = list_copy(loaded);
	MemoryContextSwitchTo(oldcontext);
	foreach(cell, old)
	{
		PlGateway  *gateway = lfirst(cell);

		if (list_member_ptr(gateways, gateway))
			continue;
		gateway->retired = true;
		if (gateway->in_flight == 0)
			free_gateway(gateway);
	}
	list_free(old);
}

/*
 * Bring the worker's copies up to date.  Returns whether they were read again.
 * Needs a transaction and an open SPI connection; a bad row becomes a gateway
 * with a problem.
 */
bool
pl_gateways_load(void)
{
	static bool registered = false;
	uint64		reading_at = invalidations;
	List	   *loaded = NIL;
	uint64		n;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(note_invalidation, (Datum) 0);
		registered = true;
	}
	if (read_at == invalidations)
		return false;

	gateways_relation = get_relname_relid("gateways", get_namespace_oid("payledger", false));
	n = pl_execute(&select_gateways, NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = pl_get_text(i, 1);
		char	   *adapter = pl_get_text(i, 2);
		char	   *definition = psprintf("%s %s", adapter, pl_get_text(i, 3));
		bool		isnull;
		PlGateway  *gateway = find_unchanged(name, definition);

		if (gateway == NULL)
			gateway = new_gateway(name, adapter, DatumGetJsonbP(pl_get_datum(i, 3, &isnull)), definition);
		loaded = lappend(loaded, gateway);
	}
	replace_gateways(loaded);
	read_at = reading_at;
	return true;
}

/*
 * The gateways as pl_gateways_load() found them last.
 */
List *
pl_gateways(void)
{
	return gateways;
}

/*
 * What http.c needs to know of the gateway, as of now: the authorities are
 * those of the secrets file that was read last.
 */
PlHttpPeer *
pl_gateway_peer(PlGateway *gateway)
{
	PlHttpPeer *peer = &gateway->peer;

	peer->name = gateway->name;
	peer->base_url = pl_option_text(gateway, "base_url");
	peer->ca = pl_secrets_ca(gateway);
	peer->plain = gateway->endpoint.plain;
	peer->max_reply_bytes = pl_option_int(gateway, "max_reply_bytes");
	peer->connect_timeout_ms = pl_option_int(gateway, "connect_timeout_ms");
	peer->timeout_ms = gateway->timeout_ms;
	peer->context = gateway->context;
	return peer;
}

/*
 * Why the gateway cannot be asked at present, palloc'd; NULL if it can.
 */
char *
pl_gateway_problem(const PlGateway *gateway)
{
	const char *refused;

	if (gateway->problem != NULL)
		return pstrdup(gateway->problem);
	refused = gateway->adapter->perform == NULL ? pl_endpoint_refused(&gateway->endpoint) : NULL;
	if (refused != NULL)
		return psprintf("base_url of gateway \"%s\" is %s that payledger.private_gateway_addresses does not list",
						gateway->name, refused);
	return pl_secrets_missing(gateway);
}
