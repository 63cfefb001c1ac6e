/*
 * src/psp/adapters.c
 *		The adapters there are.
 */
#include "postgres.h"

#include "psp/psp.h"

const PlAdapter *const pl_adapters[] = {
	&pl_sandbox_adapter,
	&pl_stripe_adapter,
	&pl_adyen_adapter,
	NULL
};

/*
 * The adapter of that name, or NULL.
 */
const PlAdapter *
pl_find_adapter(const char *name)
{
	for (int i = 0; pl_adapters[i] != NULL; i++)
		if (strcmp(pl_adapters[i]->name, name) == 0)
			return pl_adapters[i];
	return NULL;
}
