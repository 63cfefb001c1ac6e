/*
 * src/adapters/adapters_internal.h
 *		What the adapters share.
 */
#ifndef PL_ADAPTERS_INTERNAL_H
#define PL_ADAPTERS_INTERNAL_H

#include "adapters/adapters.h"
#include "document/document.h"
#include "gateway/gateway.h"

extern const PlAdapter pl_sandbox_adapter;
extern const PlAdapter pl_stripe_adapter;
extern const PlAdapter pl_adyen_adapter;

/* ---- error_classes.c ---- */

extern PlOutcomeClass pl_classify_error(const PlAdapter *adapter, const PlHttpReply *reply,
										const char *type, const char *code);
extern PlOutcomeClass pl_classify_state(const PlAdapter *adapter, const char *type, const char *state);

#endif							/* PL_ADAPTERS_INTERNAL_H */
