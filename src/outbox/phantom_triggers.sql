/* src/outbox/phantom_triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.phantoms FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('phantom', 'phantom_id', 'phantom_id');
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.phantoms FOR EACH ROW
	WHEN ((OLD.event_id, OLD.ce_time, OLD.event_type, OLD.aggregateid, OLD.version, OLD.topic, OLD.partition, OLD.record_offset,
		   OLD.message_key, OLD.created_at)
		  IS DISTINCT FROM
		  (NEW.event_id, NEW.ce_time, NEW.event_type, NEW.aggregateid, NEW.version, NEW.topic, NEW.partition, NEW.record_offset,
		   NEW.message_key, NEW.created_at))
	EXECUTE FUNCTION payledger.refuse_change('It is what Kafka has. Have it retracted with payledger.retract_phantoms().');
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.phantoms FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('It is what Kafka has. Have it retracted with payledger.retract_phantoms().');
ALTER TABLE payledger.phantoms ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.phantoms ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.phantoms ENABLE ALWAYS TRIGGER refuse_delete;

CREATE OR REPLACE TRIGGER refuse_change
	BEFORE DELETE OR UPDATE OR TRUNCATE ON payledger.published_ahead FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('It keeps an event from being published twice.');
ALTER TABLE payledger.published_ahead ENABLE ALWAYS TRIGGER refuse_change;
