/*
 * src/gateway/circuit.c
 *		The circuit breaker: a PSP that does not answer is left alone, and one
 *		request at a time finds out whether it is back.
 *
 *		CLOSED -> OPEN			circuit_failures calls in a row brought no answer
 *								or one of status 5xx, each for the first time
 *		OPEN -> HALF_OPEN		the pause is over and a request was due: the probe
 *		HALF_OPEN -> CLOSED		the probe was answered
 *		HALF_OPEN -> OPEN		it was not, and the pause doubles
 *
 * A refusal is an answer, and so is "too many requests".
 */
#include "postgres.h"

#include "gateway/circuit.h"

#define LONGEST_OPEN_MS 60000

/* faults in a row of a circuit that never opens, after which the PSP is said not to answer */
#define SILENT_AFTER 5

/*
 * The name of a state, as stat_gateway shows it.
 */
const char *
pl_circuit_name(PlCircuitState state)
{
	switch (state)
	{
		case PL_CIRCUIT_CLOSED:
			return "CLOSED";
		case PL_CIRCUIT_OPEN:
			return "OPEN";
		case PL_CIRCUIT_HALF_OPEN:
			return "HALF_OPEN";
	}
	return NULL;				/* keep compiler quiet */
}

static void
enter(PlCircuit *circuit, PlCircuitState state)
{
	circuit->state = state;
	circuit->since = pl_now();
	circuit->failures = 0;
	circuit->round++;
}

static void
open_circuit(PlCircuit *circuit, int64 pause_ms)
{
	circuit->pause_ms = Min(pause_ms, LONGEST_OPEN_MS);
	circuit->probe_at = pl_monotonic_ms() + circuit->pause_ms;
	enter(circuit, PL_CIRCUIT_OPEN);
}

/*
 * The gateway's row was read.  An open circuit is probed at once: somebody may
 * have corrected what was wrong.
 */
void
pl_circuit_configure(PlCircuit *circuit, int most_failures, int open_ms)
{
	circuit->most_failures = most_failures;
	circuit->open_ms = open_ms;
	circuit->proven = false;
	circuit->failures = 0;
	if (most_failures == 0 && circuit->state != PL_CIRCUIT_CLOSED)
		enter(circuit, PL_CIRCUIT_CLOSED);
	if (circuit->state == PL_CIRCUIT_OPEN)
	{
		circuit->pause_ms = open_ms;
		circuit->probe_at = pl_monotonic_ms();
	}
}

/*
 * How many calls may be leased.  If none, *when becomes the time of the next
 * probe (pl_monotonic_ms()), or -1 while one is under way.
 */
int
pl_circuit_allows(const PlCircuit *circuit, int64 *when)
{
	*when = -1;
	if (circuit->state == PL_CIRCUIT_CLOSED)
		return INT_MAX;
	if (circuit->state == PL_CIRCUIT_HALF_OPEN)
		return 0;
	if (circuit->probe_at <= pl_monotonic_ms())
		return 1;
	*when = circuit->probe_at;
	return 0;
}

/*
 * A call was leased.  Returns the round in which its answer counts.
 */
int
pl_circuit_leased(PlCircuit *circuit)
{
	if (circuit->state == PL_CIRCUIT_OPEN)
		enter(circuit, PL_CIRCUIT_HALF_OPEN);
	return circuit->round;
}

/*
 * A call of that round was answered, or not.  Calls from before the circuit
 * opened say nothing about the PSP of now.  A fault that the request met before
 * may be stored under its key: it opens no circuit, or a few such requests would
 * do that to a PSP that serves all others.
 */
void
pl_circuit_answered(PlCircuit *circuit, int round, bool fault, bool again)
{
	if (round != circuit->round)
		return;
	if (!fault)
	{
		circuit->failures = 0;
		circuit->proven = true;
		if (circuit->state == PL_CIRCUIT_HALF_OPEN)
			enter(circuit, PL_CIRCUIT_CLOSED);
	}
	else if (circuit->state == PL_CIRCUIT_HALF_OPEN)
		open_circuit(circuit, circuit->pause_ms * 2);
	else if (!again && ++circuit->failures >= circuit->most_failures && circuit->most_failures > 0)
		open_circuit(circuit, circuit->open_ms);
}

/*
 * Does the PSP not answer, as far as is known?
 */
bool
pl_circuit_is_silent(const PlCircuit *circuit)
{
	return circuit->state != PL_CIRCUIT_CLOSED ||
		(circuit->most_failures == 0 && circuit->failures >= SILENT_AFTER);
}

/*
 * A call of that round is over.  A probe that was never sent says nothing.
 */
void
pl_circuit_over(PlCircuit *circuit, int round)
{
	if (circuit->state == PL_CIRCUIT_HALF_OPEN && round == circuit->round)
		open_circuit(circuit, circuit->pause_ms);
}
