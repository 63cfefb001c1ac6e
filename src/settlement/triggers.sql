/* src/settlement/triggers.sql: run by payledger.setup() when it finds others */

CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.settlement_reports FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('settlement_report', 'settlement_report_id', 'settlement_report_id');
CREATE OR REPLACE TRIGGER enforce_transition
	AFTER INSERT OR UPDATE ON payledger.settlement_exceptions FOR EACH ROW
	EXECUTE FUNCTION payledger.enforce_transition('settlement_exception', 'settlement_exception_id', 'settlement_exception_id');
ALTER TABLE payledger.settlement_reports ENABLE ALWAYS TRIGGER enforce_transition;
ALTER TABLE payledger.settlement_exceptions ENABLE ALWAYS TRIGGER enforce_transition;

CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.settlement_reports FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_delete
	BEFORE DELETE OR TRUNCATE ON payledger.settlement_exceptions FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('Resolve it with payledger.resolve_exception().');
ALTER TABLE payledger.settlement_reports ENABLE ALWAYS TRIGGER refuse_delete;
ALTER TABLE payledger.settlement_exceptions ENABLE ALWAYS TRIGGER refuse_delete;

/* what was found stays what it is; only what became of it changes */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.settlement_reports FOR EACH ROW
	WHEN ((OLD.gateway, OLD.report_id, OLD.imported_at, OLD.imported_by)
		  IS DISTINCT FROM (NEW.gateway, NEW.report_id, NEW.imported_at, NEW.imported_by) OR OLD.status = 'RECONCILED')
	EXECUTE FUNCTION payledger.refuse_change();
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.settlement_exceptions FOR EACH ROW
	WHEN ((OLD.settlement_report_id, OLD.line_no, OLD.category, OLD.line_type, OLD.payment_id, OLD.object_id,
		   OLD.occurred_at, OLD.expected_amount, OLD.expected_currency, OLD.actual_amount, OLD.actual_currency)
		  IS DISTINCT FROM
		  (NEW.settlement_report_id, NEW.line_no, NEW.category, NEW.line_type, NEW.payment_id, NEW.object_id,
		   NEW.occurred_at, NEW.expected_amount, NEW.expected_currency, NEW.actual_amount, NEW.actual_currency)
		  OR OLD.status <> 'OPEN')
	EXECUTE FUNCTION payledger.refuse_change();
ALTER TABLE payledger.settlement_reports ENABLE ALWAYS TRIGGER refuse_identity_change;
ALTER TABLE payledger.settlement_exceptions ENABLE ALWAYS TRIGGER refuse_identity_change;

/* settled once, by one line; the condition is evaluated a million times for a large report */
CREATE OR REPLACE TRIGGER refuse_identity_change
	AFTER UPDATE ON payledger.settlement_items FOR EACH ROW
	WHEN (OLD.amount <> NEW.amount OR OLD.settlement_report_id IS NOT NULL OR OLD.object_id <> NEW.object_id
		  OR OLD.kind <> NEW.kind OR OLD.currency <> NEW.currency OR OLD.gateway <> NEW.gateway
		  OR OLD.seller_id <> NEW.seller_id OR OLD.payment_id <> NEW.payment_id
		  OR OLD.settlement_item_id <> NEW.settlement_item_id OR OLD.payment_order_id <> NEW.payment_order_id
		  OR OLD.occurred_at <> NEW.occurred_at)
	EXECUTE FUNCTION payledger.refuse_change('Correct it with a new posting.');
ALTER TABLE payledger.settlement_items ENABLE ALWAYS TRIGGER refuse_identity_change;

CREATE OR REPLACE TRIGGER register_report
	AFTER INSERT ON payledger.settlement_lines REFERENCING NEW TABLE AS new_lines FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.register_settlement_lines();
CREATE OR REPLACE TRIGGER refuse_change
	BEFORE UPDATE OR DELETE OR TRUNCATE ON payledger.settlement_lines FOR EACH STATEMENT
	EXECUTE FUNCTION payledger.refuse_change('A report is what the PSP sent; import a corrected one under another report_id.');
ALTER TABLE payledger.settlement_lines ENABLE ALWAYS TRIGGER register_report;
ALTER TABLE payledger.settlement_lines ENABLE ALWAYS TRIGGER refuse_change;
