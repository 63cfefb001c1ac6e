/* src/outbox/dead_letter_triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.dead_letters FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('dead_letter', 'dead_letter_id', 'dead_letter_id');
ALTER TABLE payledger.dead_letters ENABLE ALWAYS TRIGGER enforce_transition;

/* what happens to an event changes, the event does not */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.dead_letters FOR EACH ROW
	WHEN ((OLD.seq, OLD.id, OLD.aggregatetype, OLD.aggregateid, OLD.type, OLD.payload::text, OLD."timestamp", OLD.version,
		   OLD.event_key, OLD.ce_source, OLD.ce_time, OLD.ce_subject, OLD.traceparent, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.seq, NEW.id, NEW.aggregatetype, NEW.aggregateid, NEW.type, NEW.payload::text, NEW."timestamp", NEW.version,
		   NEW.event_key, NEW.ce_source, NEW.ce_time, NEW.ce_subject, NEW.traceparent, NEW.created_at))
	EXECUTE FUNCTION payledger.refuse_change('Send it again with payledger.retry_dead_letter() or give it up with payledger.skip_dead_letter().');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.dead_letters FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Send it again with payledger.retry_dead_letter() or give it up with payledger.skip_dead_letter().');
ALTER TABLE payledger.dead_letters ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.dead_letters ENABLE ALWAYS TRIGGER refuse_delete;
