/*
 * src/core/trigger_columns.c
 *		The columns of the table that a trigger is on.
 *
 * Whoever may execute a trigger function may put it on a table of his own, so
 * nothing is taken for granted: not that a column is there, nor its type, nor
 * that it is not null.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "core/core.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

/*
 * The number of a column by its name.  Raises 39P01 unless it is there and of
 * that type; InvalidOid: of any.
 */
int
pl_trigger_column(const TriggerData *trigger, const char *name, Oid type)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);
	int			column = SPI_fnumber(tupdesc, name);

	if (column <= 0 || (OidIsValid(type) && TupleDescAttr(tupdesc, column - 1)->atttypid != type))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("trigger \"%s\" cannot be on table \"%s\"", trigger->tg_trigger->tgname,
						RelationGetRelationName(trigger->tg_relation)),
				 OidIsValid(type) ? errdetail("The table has no column \"%s\" of type %s.", name, format_type_be(type)) :
				 errdetail("The table has no column \"%s\".", name)));
	return column;
}

/* The same of columns at fixed places, from 1, of which the types are given; InvalidOid: not looked at. */
void
pl_trigger_places(const TriggerData *trigger, const Oid *types, int n)
{
	TupleDesc	tupdesc = RelationGetDescr(trigger->tg_relation);

	for (int i = 0; i < n; i++)
		if (tupdesc->natts <= i || TupleDescAttr(tupdesc, i)->attisdropped ||
			(OidIsValid(types[i]) && TupleDescAttr(tupdesc, i)->atttypid != types[i]))
			ereport(ERROR,
					(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
					 errmsg("trigger \"%s\" cannot be on table \"%s\"", trigger->tg_trigger->tgname,
							RelationGetRelationName(trigger->tg_relation)),
					 OidIsValid(types[i]) ? errdetail("Column %d of the table is not of type %s.", i + 1, format_type_be(types[i])) :
					 errdetail("The table has no column %d.", i + 1)));
}

pg_noreturn static void
null_column(const TriggerData *trigger, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_NOT_NULL_VIOLATION),
			 errmsg("column \"%s\" of table \"%s\" must not be null", name,
					RelationGetRelationName(trigger->tg_relation))));
}

/* A bigint that must not be null: 23502. */
int64
pl_trigger_int64(const TriggerData *trigger, HeapTuple tuple, const char *name)
{
	int			column = pl_trigger_column(trigger, name, INT8OID);
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, RelationGetDescr(trigger->tg_relation), column, &isnull);

	if (isnull)
		null_column(trigger, name);
	return DatumGetInt64(value);
}

/* The output form, palloc'd, of a value of any type that must not be null: 23502. */
char *
pl_trigger_text(const TriggerData *trigger, HeapTuple tuple, const char *name)
{
	char	   *value = SPI_getvalue(tuple, RelationGetDescr(trigger->tg_relation),
									 pl_trigger_column(trigger, name, InvalidOid));

	if (value == NULL)
		null_column(trigger, name);
	return value;
}
