/*
 * src/core/compat.h
 *		The one place that knows how PostgreSQL 15, 17 and 18 differ.
 */
#ifndef PL_COMPAT_H
#define PL_COMPAT_H

#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#if PG_VERSION_NUM >= 180000
#include "storage/waiteventset.h"
#include "storage/proc.h"
#endif
#if PG_VERSION_NUM >= 170000
#include "storage/procnumber.h"
#include "utils/resowner.h"
#else
#include "storage/backendid.h"
#endif

/* 17 ties a wait event set to a resource owner instead of a memory context */
#if PG_VERSION_NUM >= 170000
#define PlCreateWaitEventSet(nevents) CreateWaitEventSet(NULL, (nevents))
#else
#define PlCreateWaitEventSet(nevents) CreateWaitEventSet(TopMemoryContext, (nevents))
#endif

/* This backend among the MaxBackends that may run SQL, from 0; 17 counts so itself */
#if PG_VERSION_NUM >= 170000
#define PlMyBackendIndex() ((int) MyProcNumber)
#else
#define PlMyBackendIndex() (MyBackendId - 1)
#endif

/* 17 lets extensions name their wait events */
#if PG_VERSION_NUM >= 170000
#define PL_DEFINE_WAIT_EVENT(fn, label) \
	static inline uint32 \
	fn(void) \
	{ \
		static uint32 event = 0; \
		if (event == 0) \
			event = WaitEventExtensionNew(label); \
		return event; \
	}
#else
#define PL_DEFINE_WAIT_EVENT(fn, label) \
	static inline uint32 \
	fn(void) \
	{ \
		return PG_WAIT_EXTENSION; \
	}
#endif

/* All settings that there are; 16 tells their number by the way */
#if PG_VERSION_NUM >= 160000
#define PlAllSettings(n) get_guc_variables(n)
#else
#define PlAllSettings(n) (*(n) = GetNumConfigOptions(), get_guc_variables())
#endif

/* 16 lets the callbacks of the JSON parser return an error */
#if PG_VERSION_NUM >= 160000
#define PL_JSON_CALLBACK JsonParseErrorType
#define PL_JSON_CALLBACK_DONE return JSON_SUCCESS
#else
#define PL_JSON_CALLBACK void
#define PL_JSON_CALLBACK_DONE return
#endif

/* 17 takes the lexing context to fill as first argument */
#if PG_VERSION_NUM >= 170000
#define PlMakeJsonLexContext(json, length, encoding) \
	makeJsonLexContextCstringLen(NULL, (json), (length), (encoding), true)
#else
#define PlMakeJsonLexContext(json, length, encoding) \
	makeJsonLexContextCstringLen((json), (length), (encoding), true)
#endif

/* 18 puts it in front of the declaration */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* 18 carries name and version in the magic block */
#if PG_VERSION_NUM >= 180000
#define PL_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "payledger", .version = PAYLEDGER_VERSION)
#else
#define PL_MODULE_MAGIC PG_MODULE_MAGIC
#endif

#endif							/* PL_COMPAT_H */
