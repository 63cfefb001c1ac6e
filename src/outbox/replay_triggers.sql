/* src/outbox/replay_triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.replays FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('replay', 'replay_id', 'replay_id');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.replays FOR EACH ROW
	WHEN ((OLD.from_seq, OLD.to_seq, OLD.from_time, OLD.to_time, OLD.topic, OLD.requested_by, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.from_seq, NEW.to_seq, NEW.from_time, NEW.to_time, NEW.topic, NEW.requested_by, NEW.created_at)
		  OR NEW.position < OLD.position OR NEW.events < OLD.events)
	EXECUTE FUNCTION payledger.refuse_change('Stop it with payledger.cancel_replay().');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.replays FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Stop it with payledger.cancel_replay().');
ALTER TABLE payledger.replays ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.replays ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.replays ENABLE ALWAYS TRIGGER refuse_delete;
