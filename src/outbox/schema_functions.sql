/*
 * src/outbox/schema_functions.sql: part of the install script
 *
 * JSON Schemas and the AsyncAPI document, generated from the catalogue.
 */

CREATE FUNCTION event_members() RETURNS TABLE (event_type text, member text, kind text, may_be_absent boolean, may_be_null boolean)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.event_type, m[1], m[3], m[2] = '?', m[4] = '?'
	  FROM payledger.event_catalogue() c, regexp_matches(c.members, '([A-Za-z]+)([?]?):([a-z]+)([?]?)', 'g') m
$$;
COMMENT ON FUNCTION event_members() IS
'The members that the data of each event type has: ids are strings of digits, amounts integers in minor units, currencies ISO 4217 codes. Example: SELECT * FROM payledger.event_members() WHERE event_type = ''payout_requested'';';

CREATE FUNCTION event_schema(event_type text) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id CONSTANT jsonb := '{"type": "string", "pattern": "^[0-9]{1,19}$"}';
	amount CONSTANT jsonb := '{"type": "integer"}';
	text_ CONSTANT jsonb := '{"type": "string"}';
	kinds CONSTANT jsonb := jsonb_build_object(
		'id', id,
		'text', text_,
		'amount', amount,
		'currency', '{"type": "string", "pattern": "^[A-Z]{3}$"}'::jsonb,
		'object', '{"type": "object"}'::jsonb,
		'lines', jsonb_build_object('type', 'array', 'items', jsonb_build_object('type', 'object',
			'properties', jsonb_build_object('seller_id', text_, 'amount', amount), 'required', '["seller_id", "amount"]'::jsonb)),
		'postings', jsonb_build_object('type', 'array', 'minItems', 2, 'items', jsonb_build_object('type', 'object',
			'properties', jsonb_build_object('account', text_, 'amount', amount), 'required', '["account", "amount"]'::jsonb)));
	event record;
	data jsonb;
BEGIN
	SELECT * INTO event FROM payledger.event_catalogue() c WHERE c.event_type = event_schema.event_type;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" does not exist', event_type
			USING ERRCODE = '22023', HINT = 'payledger.event_types lists them.';
	END IF;
	IF event.members IS NULL THEN
		RETURN jsonb_build_object('$schema', 'http://json-schema.org/draft-07/schema#', 'title', event.event_type,
								  'description', event.description, 'type', 'null');
	END IF;

	SELECT jsonb_build_object('type', 'object',
			'properties', jsonb_object_agg(m.member, CASE WHEN m.may_be_null
				THEN jsonb_set(kinds -> m.kind, '{type}', jsonb_build_array(kinds -> m.kind -> 'type', 'null'))
				ELSE kinds -> m.kind END),
			'required', jsonb_agg(m.member ORDER BY m.member) FILTER (WHERE NOT m.may_be_absent))
	  INTO data FROM payledger.event_members() m WHERE m.event_type = event.event_type;
	RETURN jsonb_build_object(
		'$schema', 'http://json-schema.org/draft-07/schema#',
		'title', event.event_type,
		'description', event.description,
		'type', 'object',
		'properties', jsonb_build_object(
			'eventId', '{"type": "string", "format": "uuid"}'::jsonb,
			'eventType', jsonb_build_object('const', event.event_type),
			'aggregateId', id,
			'data', data,
			'timestamp', '{"type": "string", "format": "date-time"}'::jsonb,
			'traceId', '{"type": ["string", "null"], "pattern": "^[0-9a-f]{32}$"}'::jsonb,
			'parentEventId', '{"type": "string", "format": "uuid"}'::jsonb,
			'version', '{"type": "integer", "minimum": 1}'::jsonb),
		'required', '["eventId", "eventType", "aggregateId", "data", "timestamp", "traceId", "parentEventId", "version"]'::jsonb);
END
$$;
COMMENT ON FUNCTION event_schema(text) IS
'The JSON Schema (draft 7) of the value of an event of that type, generated from payledger.event_catalogue(). Members may be added in later versions, none is taken away. Errors: 22023 no such event type. Example: SELECT jsonb_pretty(payledger.event_schema(''refund_finalized''));';

CREATE FUNCTION asyncapi() RETURNS jsonb
	LANGUAGE plpgsql STABLE
	SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	headers CONSTANT jsonb := '{
		"type": "object",
		"required": ["ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "ce_subject", "ce_sequence", "content-type"],
		"properties": {
			"ce_id": {"type": "string", "format": "uuid"},
			"ce_type": {"type": "string"},
			"ce_source": {"type": "string", "pattern": "^/payledger/[0-9]+/", "description": "the server by its payledger.node_id, and the database"},
			"ce_specversion": {"const": "1.0"},
			"ce_time": {"type": "string", "format": "date-time"},
			"ce_subject": {"type": "string", "description": "the aggregate"},
			"ce_sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "the version: contiguous from 1 for each aggregate"},
			"content-type": {"const": "application/json"},
			"traceparent": {"type": "string"},
			"ce_replayid": {"type": "string", "description": "only if published again by payledger.replay_events()"}
		}}';
	channels jsonb;
	operations jsonb;
	messages jsonb;
	schemas jsonb;
BEGIN
	IF to_regclass('payledger.layout') IS NULL THEN
		RAISE EXCEPTION 'payledger is not set up in this database'
			USING ERRCODE = 'PL010', HINT = 'Run SELECT payledger.setup().';
	END IF;
	SELECT jsonb_object_agg(t.topic, jsonb_build_object(
				'address', t.topic, 'messages', t.messages,
				'bindings', jsonb_build_object('kafka', jsonb_build_object('topic', t.topic, 'bindingVersion', '0.5.0')))),
		   jsonb_object_agg('publish.' || t.topic, jsonb_build_object(
				'action', 'send', 'channel', jsonb_build_object('$ref', '#/channels/' || t.topic)))
	  INTO channels, operations
	  FROM (SELECT e.topic, jsonb_object_agg(e.event_type, jsonb_build_object('$ref', '#/components/messages/' || e.event_type)) AS messages
			  FROM payledger.event_types e GROUP BY e.topic) t;
	SELECT jsonb_object_agg(e.event_type, jsonb_build_object(
				'name', e.event_type, 'summary', e.description, 'contentType', 'application/json',
				'headers', jsonb_build_object('$ref', '#/components/schemas/headers'),
				'payload', jsonb_build_object('$ref', '#/components/schemas/' || e.event_type),
				'bindings', jsonb_build_object('kafka', jsonb_build_object(
					'key', jsonb_build_object('type', 'string', 'description', e.message_key), 'bindingVersion', '0.5.0')))),
		   jsonb_object_agg(e.event_type, payledger.event_schema(e.event_type))
	  INTO messages, schemas FROM payledger.event_types e;
	RETURN jsonb_build_object(
		'asyncapi', '3.0.0',
		'info', jsonb_build_object(
			'title', 'payledger', 'version', (SELECT v.extension_version FROM payledger.version() v),
			'description', 'Events of payments, payouts and the ledger: CloudEvents 1.0 on Kafka in binary mode.'),
		'defaultContentType', 'application/json',
		'channels', channels,
		'operations', operations,
		'components', jsonb_build_object('messages', messages, 'schemas', schemas || jsonb_build_object('headers', headers)));
END
$$;
REVOKE ALL ON FUNCTION asyncapi() FROM PUBLIC;
COMMENT ON FUNCTION asyncapi() IS
'The AsyncAPI 3 document of what is published: a channel for each topic, a message and a JSON Schema for each event type, generated from the catalogue and the routes. Errors: PL010 not set up. Example: SELECT jsonb_pretty(payledger.asyncapi());';
