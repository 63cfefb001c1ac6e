/*
 * src/core/settings.c
 *		Settings that the server was given before the library defined them.
 *
 * PostgreSQL reads its configuration before it loads a library.  What a library
 * then refuses it warns of, and the server starts with the default: with the
 * node id of another server, without a limit.  Of its own settings it refuses
 * to start with such a configuration, and so it does here with ours.
 */
#include "postgres.h"

#include "core/compat.h"
#include "core/core.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

#define PREFIX			"payledger."

/* what the configuration says, name by name; char * */
static List *names = NIL;
static List *values = NIL;

/*
 * Remember what is configured.  Before the first setting is defined.
 */
void
pl_remember_settings(void)
{
	int			n;
	struct config_generic **all = PlAllSettings(&n);

	for (int i = 0; i < n; i++)
	{
		const char *value;

		if (pg_strncasecmp(all[i]->name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		value = GetConfigOption(all[i]->name, true, false);
		if (value == NULL)
			continue;
		names = lappend(names, pstrdup(all[i]->name));
		values = lappend(values, pstrdup(value));
	}
}

/*
 * Was all of that accepted?  After the last setting is defined and the prefix
 * reserved.  Ends the start of the server if not.
 */
void
pl_check_settings(void)
{
	ListCell   *name;
	ListCell   *value;

	forboth(name, names, value, values)
	{
		if (GetConfigOption(lfirst(name), true, false) == NULL)
			ereport(FATAL,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("unrecognized configuration parameter \"%s\"", (char *) lfirst(name)),
					 errhint("Correct its name in the server's configuration, or remove it.")));
		(void) set_config_option(lfirst(name), lfirst(value), PGC_POSTMASTER, PGC_S_FILE, GUC_ACTION_SET,
								 false, FATAL, false);
	}
	list_free_deep(names);
	list_free_deep(values);
	names = values = NIL;
}
