/*
 * src/gateway/buildable.c
 *		Can a request be made at all?  Asked while its caller is still there.
 *
 * What an adapter makes of a payment method is built a second time by the
 * gateway worker; what it cannot make anything of would be PARKED there, and
 * an operator's business instead of the caller's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "command/command.h"
#include "document/document.h"
#include "gateway/gateway.h"
#include "http/http.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

static PlQuery select_gateway = {
	"SELECT adapter, options FROM payledger.gateways WHERE gateway = $1", 1, {TEXTOID}
};

/* Build the request as the gateway of that name would, for its errors. */
static void
build_at(const char *name, const char *payment_method, const PlNewRequest *asked)
{
	PlGateway	gateway = {0};
	PlRequest	request = {0};
	PlHttpRequest http = {0};
	PlArgs		args = {0};
	bool		isnull;

	pl_arg_text(&args, name);
	if (pl_execute(&select_gateway, &args) == 0)
		return;
	gateway.name = pstrdup(name);
	gateway.adapter = pl_find_adapter(pl_get_text(0, 1));
	if (gateway.adapter == NULL || gateway.adapter->build == NULL)
		return;
	gateway.options = pl_options_read(name, gateway.adapter, DatumGetJsonbP(pl_get_datum(0, 2, &isnull)),
									  &gateway.noptions);
	request.payment_id = asked->payment_id;
	request.gateway = name;
	request.operation = request.followed = asked->operation;
	request.target = asked->target;
	request.amount = asked->amount;
	request.currency = asked->currency;
	request.payment_method = payment_method;
	request.psp_reference = asked->psp_reference;
	request.parameters = asked->parameters;
	request.idempotency_key = PL_KEY_PREFIX "0";	/* it has none yet */
	gateway.adapter->build(&gateway, &request, &http);
	pl_check_http_request(&http);
}

/*
 * Raise what the adapter raises for a request that it cannot build, at its
 * gateway or at one of the alternatives: 22P02, 22023 or 54001 for a payment
 * method or details that make no sense, 22003 for an amount that the PSP has
 * not, 55000 without what must have come before.
 */
void
pl_check_buildable(const PlNewRequest *asked)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "payledger request", ALLOCSET_DEFAULT_SIZES);
	MemoryContext oldcontext = MemoryContextSwitchTo(context);

	build_at(asked->gateway, asked->payment_method, asked);
	if (asked->alternatives != NULL)
	{
		const char *problem;
		PlDocument *alternatives = pl_document(asked->alternatives, strlen(asked->alternatives), &problem);
		const char *gateway;

		for (int i = 0; alternatives != NULL &&
			 (gateway = pl_document_text(alternatives, psprintf("%d.gateway", i))) != NULL; i++)
			build_at(gateway, pl_document_text(alternatives, psprintf("%d.payment_method", i)), asked);
	}
	MemoryContextSwitchTo(oldcontext);
	MemoryContextDelete(context);
}
