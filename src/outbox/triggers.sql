/* src/outbox/triggers.sql: run by payledger.setup() when it finds others */

/*
 * Statement triggers guard the table they are on, not its partitions.  The row
 * trigger is cloned to every partition, those of the future too, so UPDATE and
 * DELETE on a partition find it.  TRUNCATE fires no row trigger: each partition
 * gets a statement trigger of its own, here and where it is made.  Dropping or
 * detaching a partition fires neither.
 */
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.outbox_events FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_row_change
	BEFORE UPDATE OR DELETE ON payledger.outbox_events FOR EACH ROW
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.outbox_events ENABLE ALWAYS TRIGGER refuse_change;
ALTER TABLE payledger.outbox_events ENABLE ALWAYS TRIGGER refuse_row_change;

DO $$
DECLARE
	partition regclass;
BEGIN
	FOR partition IN SELECT inhrelid FROM pg_catalog.pg_inherits
					  WHERE inhparent = 'payledger.outbox_events'::regclass
	LOOP
		EXECUTE pg_catalog.format('CREATE OR REPLACE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT'
								  ' EXECUTE FUNCTION payledger.refuse_change()', partition);
		EXECUTE pg_catalog.format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_truncate', partition);
	END LOOP;
END
$$;
