/*
 * src/gateway/gateway_internal.h
 *		What the files of this room share.
 */
#ifndef PL_GATEWAY_INTERNAL_H
#define PL_GATEWAY_INTERNAL_H

#include "gateway/gateway.h"

/* ---- options.c ---- */

extern const char *pl_default_base_url(const PlAdapter *adapter);

/* ---- secrets.c ---- */

extern char *pl_secrets_missing(const PlGateway *gateway);
extern const char *pl_secrets_ca(const PlGateway *gateway);

/* ---- limits.c: how much a gateway is asked at once and in a second ---- */

#define PL_MAX_PROBLEM	512		/* bytes that are kept of it */

/* What stat_gateway shows; plain data, for shared memory. */
typedef struct PlGatewayStatus
{
	char		gateway[NAMEDATALEN];
	int			circuit;		/* PlCircuitState */
	TimestampTz circuit_since;	/* 0: it never changed */
	TimestampTz next_probe_at;	/* 0: none */
	TimestampTz throttled_until;	/* 0: the PSP asked for no pause */
	int64		replies;		/* to calls, or their lack */
	int64		faults;			/* of them, no answer or status 5xx */
	char		problem[PL_MAX_PROBLEM];	/* why it is not asked; empty: it is */
} PlGatewayStatus;

extern void pl_limits_configure(PlGateway *gateway);
extern void pl_limits_status(const PlGateway *gateway, PlGatewayStatus *status);

#endif							/* PL_GATEWAY_INTERNAL_H */
