/*
 * src/core/immutable.c
 *		The trigger that keeps append-only tables append-only.
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "commands/trigger.h"
#include "core/core.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(pl_sql_refuse_change);

/* the table that is being repaired, with its partitions */
static Oid	repaired = InvalidOid;

/*
 * Let UPDATE statements change rows of an append-only table, until
 * pl_end_repair(), which the caller reaches in case of an error too.  For what
 * a fault of ours has damaged.
 */
void
pl_begin_repair(Oid relation)
{
	repaired = relation;
}

void
pl_end_repair(void)
{
	repaired = InvalidOid;
}

static bool
is_repaired(Relation relation)
{
	if (!OidIsValid(repaired))
		return false;
	return RelationGetRelid(relation) == repaired ||
		(relation->rd_rel->relispartition &&
		 get_partition_parent(RelationGetRelid(relation), false) == repaired);
}

/*
 * refuse_change([hint]): trigger for UPDATE, DELETE and TRUNCATE, of statements
 * or rows; raises PL003 naming the table.  Which changes are refused is the
 * trigger's matter, so a table may let some columns change.
 */
Datum
pl_sql_refuse_change(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const char *operation;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("refuse_change must be called as a trigger")));

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) && is_repaired(trigger->tg_relation))
		return PointerGetDatum(TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ? trigger->tg_newtuple : NULL);

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		operation = "UPDATE";
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		operation = "DELETE";
	else
		operation = "TRUNCATE";

	ereport(ERROR,
			(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
			 errmsg("table \"%s\" is immutable: %s refused",
					RelationGetRelationName(trigger->tg_relation), operation),
			 trigger->tg_trigger->tgnargs > 0 ? errhint("%s", trigger->tg_trigger->tgargs[0]) : 0));
}
