/*
 * src/routing/routing.h
 *		Which gateway a payment goes to, and which ones after it.
 */
#ifndef PL_ROUTING_H
#define PL_ROUTING_H

#include "command/command.h"

extern char *pl_route_payment(const char *gateway, const char *currency, List *lines, int64 *routing_rule_id);
extern char *pl_failover_alternatives(Jsonb *alternatives, int64 routing_rule_id, const char *gateway);

#endif							/* PL_ROUTING_H */
