/*
 * src/core/owner.c
 *		Whose the objects are: the role payledger_owner.
 *
 * Table owners, triggers and the like are not to be trusted with the rights of
 * a superuser, so nothing of payledger runs with them: functions that write
 * are SECURITY DEFINER of this role, and the workers act as it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "core/core.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/acl.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(pl_sql_lock_setup);

/*
 * The role that owns payledger's objects.  Raises 42704 if there is none,
 * 42501 if it has been made a superuser.
 */
Oid
pl_owner(void)
{
	Oid			owner = get_role_oid(PL_OWNER_ROLE, true);

	if (!OidIsValid(owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", PL_OWNER_ROLE),
				 errhint("If it was renamed, rename it back. Otherwise create it with NOLOGIN and give it the objects in the schema payledger.")));
	if (superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" is a superuser", PL_OWNER_ROLE),
				 errhint("ALTER ROLE %s NOSUPERUSER.", PL_OWNER_ROLE)));
	return owner;
}

/*
 * Raise 42501 unless relation is a table of the owner's: a view, or the table
 * of another role, could run anything when it is read.
 */
void
pl_require_own_table(Oid relation, const char *name)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	Oid			owner;
	char		kind;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relation);
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	kind = ((Form_pg_class) GETSTRUCT(tuple))->relkind;
	ReleaseSysCache(tuple);

	if (kind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("payledger.%s is not a table", name),
				 errdetail("Its owner is role \"%s\".", GetUserNameFromId(owner, true)),
				 errhint("Find out who made it, and drop it.")));
	if (owner != pl_owner())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table payledger.%s belongs to role \"%s\", not to %s", name,
						GetUserNameFromId(owner, true), PL_OWNER_ROLE),
				 errhint("If a superuser has restored the tables without their owner, SELECT payledger.adopt_tables() takes them over.")));
}

/*
 * lock_setup() RETURNS void: one setup() at a time, until the transaction ends.
 */
Datum
pl_sql_lock_setup(PG_FUNCTION_ARGS)
{
	/* whether or not there is something to make */
	PreventCommandIfReadOnly("payledger.setup()");
	pl_lock(PL_LOCK_SETUP);
	PG_RETURN_VOID();
}
