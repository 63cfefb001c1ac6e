/*
 * src/relay/relay.h
 *		The relay: committed events to Kafka, in order.
 */
#ifndef PL_RELAY_H
#define PL_RELAY_H

#include "core/core.h"

/* ---- settings, registered in payledger.c ---- */

typedef enum PlDelivery
{
	PL_DELIVERY_AT_LEAST_ONCE,
	PL_DELIVERY_EXACTLY_ONCE
} PlDelivery;

extern int	pl_delivery;
extern int	pl_relay_batch;		/* events */

/* ---- relay.c ---- */

pg_noreturn extern void pl_relay_main(void);

#endif							/* PL_RELAY_H */
