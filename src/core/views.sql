/* src/core/views.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE VIEW payledger.transitions AS
	SELECT machine, from_status, to_status FROM payledger.transition_table();
COMMENT ON VIEW payledger.transitions IS
'Every edge of every state machine; from_status is null where an object begins. Any other change of a status raises PL001.';

CREATE OR REPLACE VIEW payledger.stat_clock AS
	SELECT agrees, wall_clock, trusted_clock, step, since, at_start, steps, confirmed_at, confirmed_by, confirmed_step
	  FROM payledger.clock_status();
COMMENT ON VIEW payledger.stat_clock IS
'Whether the wall clock can be trusted. agrees is false while it is off by more than payledger.max_clock_step of the time as counted by a clock that nobody sets (trusted_clock), by step: then ids and stored times go by trusted_clock, and nothing expires, is paid out or is deleted before both say so. since is when that was noticed; at_start tells that it was so when the server started, where trusted_clock may be the wrong one: after a long outage, say. It ends when the wall clock is set right, or by payledger.confirm_clock(), whose last call that found a step the last columns show. steps counts those noticed since the server started. agrees is false, too, with a step of 0, where both show a time before 2025 or after 2089: then nothing can be written until the wall clock is set right.';
