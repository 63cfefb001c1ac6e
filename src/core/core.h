/*
 * src/core/core.h
 *		What every room may use: ids, money, errors, SQL plans, state machines,
 *		snapshot windows, wake-ups.  core calls no other room.
 */
#ifndef PL_CORE_H
#define PL_CORE_H

#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "nodes/pg_list.h"
#include "lib/stringinfo.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "core/compat.h"

#define PAYLEDGER_VERSION "0.1"
#define PL_LAYOUT_VERSION 6

/* Stable: applications match on them.  docs/tour.md lists them. */
#define ERRCODE_PL_ILLEGAL_TRANSITION	MAKE_SQLSTATE('P', 'L', '0', '0', '1')
#define ERRCODE_PL_UNBALANCED_ENTRY		MAKE_SQLSTATE('P', 'L', '0', '0', '2')
#define ERRCODE_PL_IMMUTABLE_RECORD		MAKE_SQLSTATE('P', 'L', '0', '0', '3')
#define ERRCODE_PL_BALANCE_LIMIT		MAKE_SQLSTATE('P', 'L', '0', '0', '4')
#define ERRCODE_PL_AMOUNT_EXCEEDED		MAKE_SQLSTATE('P', 'L', '0', '0', '5')
#define ERRCODE_PL_IDEMPOTENCY_REUSE	MAKE_SQLSTATE('P', 'L', '0', '0', '6')
#define ERRCODE_PL_NOT_FOUND			MAKE_SQLSTATE('P', 'L', '0', '0', '7')
#define ERRCODE_PL_NOT_ACTIVE			MAKE_SQLSTATE('P', 'L', '0', '0', '8')
#define ERRCODE_PL_PERIOD_CLOSED		MAKE_SQLSTATE('P', 'L', '0', '0', '9')
#define ERRCODE_PL_NOT_SET_UP			MAKE_SQLSTATE('P', 'L', '0', '1', '0')
#define ERRCODE_PL_CARD_DATA			MAKE_SQLSTATE('P', 'L', '0', '1', '1')
#define ERRCODE_PL_WEBHOOK_REFUSED		MAKE_SQLSTATE('P', 'L', '0', '1', '2')

/* ---- shared.c: shared memory and layout ---- */

extern Size pl_core_shmem_size(void);
extern void pl_core_shmem_init(void);
extern void pl_require_preload(void);
extern const char *pl_server_mark(void);
extern void pl_require_layout(void);
extern bool pl_layout_exists(void);

/* ---- clock.c: the time to go by ---- */

extern int	pl_max_clock_step;	/* seconds */
extern int	pl_max_clock_gap;	/* seconds */

extern int64 pl_monotonic_ms(void);
extern TimestampTz pl_now(void);
extern TimestampTz pl_due_now(void);
extern TimestampTz pl_grace_now(void);
extern TimestampTz pl_grace_from(TimestampTz at);
extern TimestampTz pl_transaction_now(void);
extern TimestampTz pl_kept_since(int seconds);
extern int64 pl_clock_step(void);
extern char *pl_describe_step(int64 step);
extern uint32 pl_clock_confirmations(void);
extern void pl_clock_watch(void);

/* ---- settings.c ---- */

extern void pl_remember_settings(void);
extern void pl_check_settings(void);

/* ---- ids.c ---- */

extern int	pl_node_id;

extern int64 pl_next_id(void);
extern bool pl_ids_hold(TimestampTz at);
extern void pl_exceed_id(int64 id);
extern int	pl_compare_ids(const void *a, const void *b);
extern TimestampTz pl_id_timestamp(int64 id);
extern int64 pl_first_id_after(TimestampTz at);

/* ---- money.c ---- */

typedef struct PlCurrency
{
	const char *code;			/* ISO 4217 alphabetic */
	int			exponent;		/* digits after the point */
	const char *name;
} PlCurrency;

extern const PlCurrency *pl_find_currency(const char *code);
extern const PlCurrency *pl_check_currency(const char *code);
extern int64 pl_add_amount(int64 a, int64 b);
extern int64 pl_commission(int64 amount, int32 bps, int64 fixed);
extern char *pl_format_amount(int64 amount, const PlCurrency *currency);

/* ---- text.c: text from outside ---- */

extern size_t pl_clip_length(const char *bytes, size_t length, size_t max);
extern void pl_clip(char *text, size_t max);
extern void pl_fill_text(char *to, const char *from, size_t size);
extern char *pl_valid_text(const char *bytes, size_t length);
extern int	pl_hidden_character(const char *text);

/* ---- checks.c: arguments ---- */

extern bool pl_holds_card_number(const char *text);
extern void pl_mask_card_data(char *text);
extern void pl_mask_card_data_in_json(char *json);
extern void pl_refuse_card_data(const char *what, const char *value);
extern void pl_check_text(const char *what, const char *value, int max_length);
extern void pl_check_number(const char *what, Numeric number);
extern bool pl_jsonb_is_printable(Jsonb *json);
extern bool pl_jsonb_holds_card_number(Jsonb *json);
extern void pl_check_metadata(const char *what, Jsonb *metadata);
extern char *pl_text_arg(FunctionCallInfo fcinfo, int argno, const char *name);
extern char *pl_optional_text_arg(FunctionCallInfo fcinfo, int argno);
extern int64 pl_int64_arg(FunctionCallInfo fcinfo, int argno, const char *name);

/* ---- files.c ---- */

extern char *pl_read_file(const char *path, size_t limit, bool secret, const char **problem);

/* ---- log_mask.c ---- */

extern void pl_log_mask_init(void);

/* ---- owner.c: whose the objects are ---- */

#define PL_OWNER_ROLE "payledger_owner"

extern Oid	pl_owner(void);
extern void pl_require_own_table(Oid relation, const char *name);

/* ---- locks.c ---- */

typedef enum PlLock
{
	PL_LOCK_SETUP = 0x73657475, /* "setu" */
	PL_LOCK_FOLD = 0x666f6c64,	/* "fold" */
	PL_LOCK_INCARNATION = 0x696e6361	/* "inca" */
} PlLock;

extern void pl_lock(PlLock lock);

/* ---- query.c: SQL through kept plans ---- */

#define PL_MAX_QUERY_ARGS 24

/*
 * A statement with its parameter types.  Static storage: the plan is prepared
 * at first use in a backend and kept.  The text must qualify every name.
 */
typedef struct PlQuery
{
	const char *sql;
	int			nargs;
	Oid			argtypes[PL_MAX_QUERY_ARGS];
	SPIPlanPtr	plan;
} PlQuery;

/* Values for the parameters of one execution, in order. */
typedef struct PlArgs
{
	int			n;
	Datum		values[PL_MAX_QUERY_ARGS];
	char		nulls[PL_MAX_QUERY_ARGS];
} PlArgs;

extern void pl_arg(PlArgs *args, Datum value);
extern void pl_arg_null(PlArgs *args);
extern void pl_arg_int64(PlArgs *args, int64 value);
extern void pl_arg_int32(PlArgs *args, int32 value);
extern void pl_arg_bool(PlArgs *args, bool value);
extern void pl_arg_text(PlArgs *args, const char *value);	/* NULL allowed */
extern void pl_arg_timestamp(PlArgs *args, TimestampTz value);
extern void pl_arg_ids(PlArgs *args, const int64 *ids, int n);
extern void pl_arg_array(PlArgs *args, Datum *values, bool *nulls, int n, Oid elemtype);

extern void pl_connect(void);
extern void pl_finish(void);
extern uint64 pl_execute(PlQuery *query, PlArgs *args);
extern uint64 pl_execute_latest(PlQuery *query, PlArgs *args);
extern uint64 pl_select(PlQuery *query, PlArgs *args);

extern Portal pl_open_cursor(PlQuery *query, PlArgs *args);

extern bool pl_isnull(int row, int column);
extern int64 pl_get_int64(int row, int column);
extern int32 pl_get_int32(int row, int column);
extern bool pl_get_bool(int row, int column);
extern char *pl_get_text(int row, int column);	/* palloc'd, NULL for null */
extern Datum pl_get_datum(int row, int column, bool *isnull);
extern Datum pl_get_value(int row, int column);

extern void pl_return_rows(FunctionCallInfo fcinfo);

/* ---- trigger_columns.c: of the table that a trigger is on ---- */

struct TriggerData;

extern int	pl_trigger_column(const struct TriggerData *trigger, const char *name, Oid type);
extern void pl_trigger_places(const struct TriggerData *trigger, const Oid *types, int n);
extern int64 pl_trigger_int64(const struct TriggerData *trigger, HeapTuple tuple, const char *name);
extern char *pl_trigger_text(const struct TriggerData *trigger, HeapTuple tuple, const char *name);

/* ---- immutable.c ---- */

extern void pl_begin_repair(Oid relation);
extern void pl_end_repair(void);

/* ---- json.c: writing JSON text ---- */

extern void pl_json_text(StringInfo out, const char *key, const char *value);
extern void pl_json_id(StringInfo out, const char *key, int64 id);
extern void pl_json_amount(StringInfo out, const char *key, int64 amount);
extern void pl_json_raw(StringInfo out, const char *key, const char *json);

/* ---- machine.c, history.c: state machines ---- */

typedef struct PlEdge
{
	const char *from;			/* NULL: a new object may start in "to" */
	const char *to;
} PlEdge;

typedef struct PlMachine
{
	const char *name;
	const char *const *states;
	int			nstates;
	const PlEdge *edges;
	int			nedges;
} PlMachine;

#define PL_MACHINE(name, states, edges) {name, states, lengthof(states), edges, lengthof(edges)}

extern void pl_register_machine(const PlMachine *machine);
extern const PlMachine *pl_find_machine(const char *name);
extern bool pl_edge_exists(const PlMachine *machine, const char *from, const char *to);
pg_noreturn extern void pl_illegal_transition(const char *machine, int64 object_id,
											  const char *from, const char *to);

extern void pl_history_begin(const char *cause);
extern void pl_history_cause(const char *cause);
extern void pl_history_end(void);
extern void pl_history_record(int64 payment_id, const char *machine, int64 object_id,
							  const char *from, const char *to);

/* ---- window.c: snapshots as data ---- */

/*
 * A snapshot in transaction numbers (incarnation * 2^48 + transaction id): a
 * row is visible in it if its transaction_no is below xmax and not in xip.
 * xip is sorted and has each number once.
 */
typedef struct PlSnapshot
{
	int64		xmax;
	int			nxip;
	int64	   *xip;
} PlSnapshot;

extern int64 pl_transaction_no(void);
extern int64 pl_next_transaction_no(void);
extern int	pl_incarnation(void);
extern PlSnapshot *pl_current_snapshot(void);
extern bool pl_visible(const PlSnapshot *snapshot, int64 transaction_no);
extern Datum pl_snapshot_xip(const PlSnapshot *snapshot);	/* int8[] */

/* ---- wakeup.c: between backends and workers ---- */

typedef enum PlRole
{
	PL_ROLE_GATEWAY,
	PL_ROLE_RELAY,
	PL_ROLE_KEEPER
} PlRole;

#define PL_ROLE_COUNT 3

/* relays that a database may have; of the other workers it has one each */
#define PL_MAX_RELAY_SHARDS 16

extern void pl_wakeup_init(void);
extern void pl_wake_at_commit(PlRole role);
extern void pl_attach_worker(PlRole role, int shard);
extern bool pl_worker_attached(PlRole role);
extern void pl_wake_worker(PlRole role);

extern void pl_announce(int64 topic);
extern void pl_prepare_to_wait(int64 topic);
extern bool pl_wait(int64 topic, long timeout_ms);
extern void pl_stop_waiting(void);

/* the topic on which workers announce any progress; payments use their id */
#define PL_TOPIC_PROGRESS 0

/* ---- sha256.c ---- */

#define PL_SHA256_LENGTH	32

extern void pl_sha256(const void *bytes, size_t n, uint8 *result);

#endif							/* PL_CORE_H */
