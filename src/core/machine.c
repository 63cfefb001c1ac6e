/*
 * src/core/machine.c
 *		State machines: their edges as data, and the trigger that holds every
 *		change of a status column to them.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "core/core.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#define MAX_MACHINES 16

static const PlMachine *machines[MAX_MACHINES];
static int	nmachines = 0;

PG_FUNCTION_INFO_V1(pl_sql_enforce_transition);
PG_FUNCTION_INFO_V1(pl_sql_transition_table);
PG_FUNCTION_INFO_V1(pl_sql_state_diagram);

/*
 * Make a machine known.  Called by the rooms from _PG_init.
 */
void
pl_register_machine(const PlMachine *machine)
{
	if (nmachines == MAX_MACHINES)
		elog(ERROR, "more than %d state machines", MAX_MACHINES);
	machines[nmachines++] = machine;
}

/* The machine of that name, or NULL. */
const PlMachine *
pl_find_machine(const char *name)
{
	for (int i = 0; i < nmachines; i++)
		if (strcmp(machines[i]->name, name) == 0)
			return machines[i];
	return NULL;
}

static bool
same_state(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Is there an edge?  from NULL asks whether an object may begin in to. */
bool
pl_edge_exists(const PlMachine *machine, const char *from, const char *to)
{
	for (int i = 0; i < machine->nedges; i++)
		if (same_state(machine->edges[i].from, from) && strcmp(machine->edges[i].to, to) == 0)
			return true;
	return false;
}

/*
 * Raise PL001 for an object that was asked to go from one state to another.
 */
void
pl_illegal_transition(const char *name, int64 object_id, const char *from, const char *to)
{
	const PlMachine *machine = pl_find_machine(name);
	StringInfoData legal;

	initStringInfo(&legal);
	for (int i = 0; machine != NULL && i < machine->nedges; i++)
		if (same_state(machine->edges[i].from, from))
			appendStringInfo(&legal, "%s%s", legal.len > 0 ? ", " : "", machine->edges[i].to);

	if (from == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
				 errmsg("%s " INT64_FORMAT " must not begin as %s", name, object_id, to),
				 errdetail("machine %s, from nothing, to %s", name, to),
				 errhint("It begins as %s.", legal.data)));
	ereport(ERROR,
			(errcode(ERRCODE_PL_ILLEGAL_TRANSITION),
			 errmsg("%s " INT64_FORMAT " must not go from %s to %s", name, object_id, from, to),
			 errdetail("machine %s, from %s, to %s", name, from, to),
			 legal.len > 0 ? errhint("From %s it may go to %s.", from, legal.data)
			 : errhint("%s is a final state.", from)));
}

/*
 * enforce_transition(machine, id column, payment column): AFTER INSERT OR
 * UPDATE row trigger of every table with a status column.  Raises PL001 for an
 * edge that is not listed and PL003 when a row's identity is changed; records
 * history for one that is.
 */
Datum
pl_sql_enforce_transition(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const PlMachine *machine;
	char	  **args;
	bool		is_update;
	int64		object_id;
	char	   *from = NULL;
	char	   *to;
	HeapTuple	new_row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event) || TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ||
		trigger->tg_trigger->tgnargs != 3)
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("enforce_transition must be called as an AFTER INSERT OR UPDATE row trigger with three arguments")));

	args = trigger->tg_trigger->tgargs;
	machine = pl_find_machine(args[0]);
	if (machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("state machine \"%s\" does not exist", args[0])));

	is_update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	new_row = is_update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	object_id = pl_trigger_int64(trigger, new_row, args[1]);
	to = pl_trigger_text(trigger, new_row, "status");

	if (is_update)
	{
		if (pl_trigger_int64(trigger, trigger->tg_trigtuple, args[1]) != object_id ||
			pl_trigger_int64(trigger, trigger->tg_trigtuple, args[2]) !=
			pl_trigger_int64(trigger, new_row, args[2]))
			ereport(ERROR,
					(errcode(ERRCODE_PL_IMMUTABLE_RECORD),
					 errmsg("the id of %s " INT64_FORMAT " must not change",
							machine->name, pl_trigger_int64(trigger, trigger->tg_trigtuple, args[1]))));
		from = pl_trigger_text(trigger, trigger->tg_trigtuple, "status");
		if (strcmp(from, to) == 0)
			return PointerGetDatum(NULL);
	}

	if (!pl_edge_exists(machine, from, to))
		pl_illegal_transition(machine->name, object_id, from, to);
	pl_history_record(pl_trigger_int64(trigger, new_row, args[2]), machine->name, object_id, from, to);
	return PointerGetDatum(NULL);
}

/*
 * transition_table() RETURNS TABLE (machine, from_status, to_status)
 */
Datum
pl_sql_transition_table(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo;

	InitMaterializedSRF(fcinfo, 0);
	rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	for (int m = 0; m < nmachines; m++)
		for (int e = 0; e < machines[m]->nedges; e++)
		{
			const PlEdge *edge = &machines[m]->edges[e];
			Datum		values[3] = {0};
			bool		nulls[3] = {false, edge->from == NULL, false};

			values[0] = CStringGetTextDatum(machines[m]->name);
			if (edge->from != NULL)
				values[1] = CStringGetTextDatum(edge->from);
			values[2] = CStringGetTextDatum(edge->to);
			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
		}
	return (Datum) 0;
}

/*
 * state_diagram(machine text) RETURNS text: Mermaid; 22023 for no such machine.
 */
Datum
pl_sql_state_diagram(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const PlMachine *machine = pl_find_machine(name);
	StringInfoData out;

	if (machine == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("state machine \"%s\" does not exist", name),
				 errhint("payledger.transitions lists the machines.")));

	initStringInfo(&out);
	appendStringInfoString(&out, "stateDiagram-v2\n");
	for (int i = 0; i < machine->nedges; i++)
		appendStringInfo(&out, "    %s --> %s\n",
						 machine->edges[i].from ? machine->edges[i].from : "[*]",
						 machine->edges[i].to);
	for (int i = 0; i < machine->nstates; i++)
	{
		bool		is_final = true;

		for (int e = 0; e < machine->nedges && is_final; e++)
			is_final = !same_state(machine->edges[e].from, machine->states[i]);
		if (is_final)
			appendStringInfo(&out, "    %s --> [*]\n", machine->states[i]);
	}
	PG_RETURN_TEXT_P(cstring_to_text(out.data));
}
