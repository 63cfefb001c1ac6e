/*
 * src/adapters/adapters.c
 *		The adapters that payledger comes with, made known to the gateways.
 */
#include "postgres.h"

#include "adapters/adapters_internal.h"
#include "gateway/gateway.h"

/*
 * Called from _PG_init.
 */
void
pl_adapters_init(void)
{
	pl_register_adapter(&pl_sandbox_adapter);
	pl_register_adapter(&pl_stripe_adapter);
	pl_register_adapter(&pl_adyen_adapter);
}
