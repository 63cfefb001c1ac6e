/* src/core/tables.sql: created once by payledger.setup() */

CREATE TABLE payledger.layout (
	version		int PRIMARY KEY,
	applied_at	timestamptz NOT NULL DEFAULT now(),
	extension_version text NOT NULL,
	keys		text[] NOT NULL	/* see layout_keys() */
);

/*
 * A dump restored elsewhere brings rows whose transaction numbers belong to
 * another cluster.  Each (cluster, database) that ever wrote here gets the
 * next incarnation; it forms the high bits of every transaction_no, so that
 * numbers only ever grow and snapshot windows stay right.
 */
CREATE TABLE payledger.incarnations (
	incarnation		int PRIMARY KEY CHECK (incarnation BETWEEN 1 AND 32767),
	system_identifier text NOT NULL,
	database_oid	oid NOT NULL,
	since			timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE payledger.incarnations IS
'One row for each cluster and database in which this data has been written: a restored dump starts the next one. The incarnation is the part above bit 48 of every transaction_no.';

CREATE TABLE payledger.state_history (
	history_id	bigint NOT NULL,
	payment_id	bigint NOT NULL,
	machine		text NOT NULL,
	object_id	bigint NOT NULL,
	from_status	text,
	to_status	text NOT NULL,
	at			timestamptz NOT NULL,
	actor		text NOT NULL,
	cause		text NOT NULL,
	PRIMARY KEY (payment_id, history_id)
);
COMMENT ON TABLE payledger.state_history IS
'Append-only: one row for each state an object entered, written in the commit that changed it. from_status is null for a new object.';
COMMENT ON COLUMN payledger.state_history.actor IS 'role that made the change';
COMMENT ON COLUMN payledger.state_history.cause IS 'command or PSP answer that made the change; ''sql'' for a hand-written statement';
