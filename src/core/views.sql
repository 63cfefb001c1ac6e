/* src/core/views.sql: made anew by every payledger.setup() */

CREATE OR REPLACE VIEW payledger.transitions AS
	SELECT machine, from_status, to_status FROM payledger.transition_table();
COMMENT ON VIEW payledger.transitions IS
'Every edge of every state machine; from_status is null where an object begins. Any other change of a status raises PL001.';
