/*
 * src/gateway/circuit.h
 *		The circuit breaker of a gateway.
 */
#ifndef PL_CIRCUIT_H
#define PL_CIRCUIT_H

#include "core/core.h"

typedef enum PlCircuitState
{
	PL_CIRCUIT_CLOSED,			/* all goes through */
	PL_CIRCUIT_OPEN,			/* nothing does until the next probe */
	PL_CIRCUIT_HALF_OPEN		/* one call probes */
} PlCircuitState;

typedef struct PlCircuit
{
	PlCircuitState state;
	TimestampTz since;			/* 0: for ever */
	int			most_failures;	/* in a row; 0: it never opens */
	int			failures;		/* in a row, while closed */
	int			open_ms;		/* the first pause */
	int64		pause_ms;		/* the present one */
	int64		probe_at;		/* pl_monotonic_ms(); while open */
	int			round;			/* only calls of the present one count */
	bool		proven;			/* answered since it was configured */
} PlCircuit;

extern void pl_circuit_configure(PlCircuit *circuit, int most_failures, int open_ms);
extern int	pl_circuit_allows(const PlCircuit *circuit, int64 *when);
extern int	pl_circuit_leased(PlCircuit *circuit);
extern void pl_circuit_answered(PlCircuit *circuit, int round, bool fault, bool again);
extern void pl_circuit_over(PlCircuit *circuit, int round);
extern bool pl_circuit_is_silent(const PlCircuit *circuit);
extern const char *pl_circuit_name(PlCircuitState state);

#endif							/* PL_CIRCUIT_H */
