/*
 * src/command/outcome.c
 *		The names of what an answer of a PSP may mean.
 */
#include "postgres.h"

#include "command/command.h"

/* The name of an outcome class, as history and events show it. */
const char *
pl_outcome_name(PlOutcomeClass class)
{
	switch (class)
	{
		case PL_OUTCOME_SUCCEEDED:
			return "SUCCEEDED";
		case PL_OUTCOME_PENDING:
			return "PENDING";
		case PL_OUTCOME_REFUSED:
			return "REFUSED";
		case PL_OUTCOME_ACTION_REQUIRED:
			return "ACTION_REQUIRED";
		case PL_OUTCOME_REVERSED:
			return "REVERSED";
		case PL_OUTCOME_RETRY:
			return "RETRY";
		case PL_OUTCOME_UNKNOWN:
			return "UNKNOWN";
	}
	return NULL;				/* keep compiler quiet */
}
