// Drives the PSP test server with Stripe's own client and prints TAP.
//
//	node flow.js http://127.0.0.1:PORT API_KEY
//
// What the client library understands without complaint, and turns into the
// errors it is documented to throw, is what it would get from Stripe.

import Stripe from 'stripe';

const [, , address, apiKey] = process.argv;
if (!apiKey) {
	console.error('usage: node flow.js URL API_KEY');
	process.exit(2);
}
const server = new URL(address);

// A client of the server; retries are off unless asked for.
function clientOf(key, options = {}) {
	return new Stripe(key, {
		protocol: server.protocol.replace(':', ''),
		host: server.hostname,
		port: server.port,
		maxNetworkRetries: 0,
		telemetry: false,
		...options,
	});
}

const stripe = clientOf(apiKey);
let count = 0;
let failures = 0;

// Prints one result.
function ok(passed, name, detail) {
	count += 1;
	console.log(`${passed ? 'ok' : 'not ok'} ${count} - ${name}`);
	if (!passed) {
		failures += 1;
		console.log(`# ${detail}`);
	}
}

// Compares two values.
function is(got, expected, name) {
	ok(got === expected, name, `got ${got}, expected ${expected}`);
}

// Expects a promise to fail, and returns the error.
async function failsWith(type, promise, name) {
	try {
		const result = await promise;
		ok(false, name, `no error but ${JSON.stringify(result)}`);
		return new Stripe.errors.StripeError({message: 'none'});
	} catch (error) {
		ok(error instanceof type && error.type === type.name, name,
			`${error.type}: ${error.message}`);
		return error;
	}
}

// Sends a request to the control API of the server.
async function control(method, path, body) {
	const response = await fetch(new URL(path, server), {
		method,
		body: body === undefined ? undefined : JSON.stringify(body),
	});
	if (!response.ok) {
		throw new Error(`${method} ${path}: ${response.status}`);
	}
	return response.json();
}

const manual = {
	amount: 2900,
	currency: 'eur',
	capture_method: 'manual',
	confirm: true,
	payment_method: 'pm_card_visa',
	payment_method_types: ['card'],
	metadata: {order: 'ORDER-1'},
};

async function capturesAndRefunds() {
	const intent = await stripe.paymentIntents.create({
		...manual,
		payment_method_options: {card: {request_multicapture: 'if_available'}},
	}, {idempotencyKey: 'flow-create'});
	is(intent.status, 'requires_capture', 'create and confirm, manual capture');
	is(intent.amount_capturable, 2900, 'all is capturable');
	is(intent.metadata.order, 'ORDER-1', 'metadata');
	is(intent.lastResponse.statusCode, 200, 'status code');
	ok(intent.lastResponse.requestId.startsWith('req_'), 'request id');

	const expanded = await stripe.paymentIntents.retrieve(intent.id,
		{expand: ['latest_charge']});
	is(expanded.latest_charge.payment_method_details.card.multicapture.status,
		'available', 'retrieve with the charge expanded');

	const partial = await stripe.paymentIntents.capture(intent.id,
		{amount_to_capture: 1000, final_capture: false},
		{idempotencyKey: 'flow-capture-1'});
	is(partial.status, 'requires_capture', 'partial capture leaves it open');
	is(partial.amount_received, 1000, 'partial capture: received');
	is(partial.amount_capturable, 1900, 'partial capture: still capturable');

	const final = await stripe.paymentIntents.capture(intent.id,
		{amount_to_capture: 1500}, {idempotencyKey: 'flow-capture-2'});
	is(final.status, 'succeeded', 'final capture ends it');
	is(final.amount_received, 2500, 'final capture: received in all');

	const refund = await stripe.refunds.create(
		{payment_intent: intent.id, amount: 700},
		{idempotencyKey: 'flow-refund'});
	is(refund.status, 'succeeded', 'refund');
	is((await stripe.refunds.retrieve(refund.id)).amount, 700,
		'refund retrieved');
	const refunds = await stripe.refunds.list({payment_intent: intent.id});
	is(refunds.data.length, 1, 'refund listed');
	await failsWith(Stripe.errors.StripeInvalidRequestError,
		stripe.refunds.create({payment_intent: intent.id, amount: 1801}),
		'a refund above the rest is refused');

	const error = await failsWith(Stripe.errors.StripeInvalidRequestError,
		stripe.paymentIntents.cancel(intent.id), 'cancel comes too late');
	is(error.code, 'payment_intent_unexpected_state', 'too late: code');
	is(error.payment_intent.id, intent.id, 'too late: the intent');
}

async function cancels() {
	const intent = await stripe.paymentIntents.create(manual);
	const cancelled = await stripe.paymentIntents.cancel(intent.id,
		{cancellation_reason: 'requested_by_customer'});
	is(cancelled.status, 'canceled', 'cancelled');
	is(cancelled.amount_capturable, 0, 'cancelled: released');

	const separate = await stripe.paymentIntents.create(
		{amount: 500, currency: 'usd'});
	is(separate.status, 'requires_payment_method', 'created only');
	const confirmed = await stripe.paymentIntents.confirm(separate.id,
		{payment_method: 'pm_card_visa'});
	is(confirmed.status, 'succeeded', 'confirmed on its own');
}

async function declines() {
	for (const [card, code, decline] of [
		['pm_card_chargeDeclined', 'card_declined', 'generic_decline'],
		['pm_card_chargeDeclinedInsufficientFunds', 'card_declined',
			'insufficient_funds'],
		['pm_card_chargeDeclinedExpiredCard', 'expired_card', 'expired_card'],
	]) {
		const error = await failsWith(Stripe.errors.StripeCardError,
			stripe.paymentIntents.create({...manual, payment_method: card}),
			`${card}: StripeCardError`);
		is(error.statusCode, 402, `${card}: 402`);
		is(error.code, code, `${card}: code`);
		is(error.decline_code, decline, `${card}: decline code`);
		is(error.payment_intent.status, 'requires_payment_method',
			`${card}: the intent`);
	}
}

async function idempotency() {
	const options = {idempotencyKey: 'flow-replay'};
	const first = await stripe.paymentIntents.create(manual, options);
	const second = await stripe.paymentIntents.create(manual, options);
	is(second.id, first.id, 'replay: the same intent');
	is(second.lastResponse.headers['idempotent-replayed'], 'true',
		'replay: marked');
	is(second.lastResponse.headers['original-request'],
		first.lastResponse.requestId, 'replay: names the original');
	await failsWith(Stripe.errors.StripeIdempotencyError,
		stripe.paymentIntents.create({...manual, amount: 3000}, options),
		'other parameters: StripeIdempotencyError');
	await failsWith(Stripe.errors.StripeIdempotencyError,
		stripe.paymentIntents.cancel(first.id, {}, options),
		'other endpoint: StripeIdempotencyError');
}

async function errors() {
	await failsWith(Stripe.errors.StripeAuthenticationError,
		clientOf('sk_test_wrong').paymentIntents.create(manual),
		'wrong API key: StripeAuthenticationError');
	const missing = await failsWith(Stripe.errors.StripeInvalidRequestError,
		stripe.paymentIntents.retrieve('pi_none'), 'no such intent');
	is(missing.statusCode, 404, 'no such intent: 404');
	is(missing.code, 'resource_missing', 'no such intent: code');
	const unknown = await failsWith(Stripe.errors.StripeInvalidRequestError,
		stripe.paymentIntents.create({...manual, colour: 'red'}),
		'unknown parameter');
	is(unknown.code, 'parameter_unknown', 'unknown parameter: code');
	is(unknown.param, 'colour', 'unknown parameter: name');
}

async function customerActions() {
	const threeD = {...manual, payment_method: 'pm_card_threeDSecure2Required'};
	const intent = await stripe.paymentIntents.create(
		{...threeD, return_url: 'https://shop.example/back'});
	is(intent.status, 'requires_action', 'requires action');
	is(intent.next_action.type, 'redirect_to_url', 'next action');
	await control('POST', `/_test/intents/${intent.id}/complete_action`,
		{outcome: 'succeed'});
	const completed = await stripe.paymentIntents.retrieve(intent.id);
	is(completed.status, 'requires_capture', 'action completed');

	const second = await stripe.paymentIntents.create(threeD);
	await control('POST', `/_test/intents/${second.id}/complete_action`,
		{outcome: 'fail'});
	const failed = await stripe.paymentIntents.retrieve(second.id);
	is(failed.status, 'requires_payment_method', 'action failed');
	is(failed.last_payment_error.code, 'payment_intent_authentication_failure',
		'action failed: code');

	const refused = await failsWith(Stripe.errors.StripeCardError,
		stripe.paymentIntents.create(
			{...threeD, error_on_requires_action: true}),
		'error_on_requires_action: StripeCardError');
	is(refused.code, 'authentication_required',
		'error_on_requires_action: code');
}

async function lists() {
	const ids = [];
	for await (const intent of stripe.paymentIntents.list({limit: 3})) {
		ids.push(intent.id);
	}
	const truth = await control('GET', '/_test/truth');
	is(ids.join(), truth.intents.map((intent) => intent.id).reverse().join(),
		'the client walks through all pages');
	const found = await stripe.paymentIntents.search(
		{query: "metadata['order']:'ORDER-1'", limit: 100});
	ok(found.data.length > 1, 'search by metadata');
}

// The client's own retries meet faults; nothing must be executed twice.
async function retries() {
	const patient = clientOf(apiKey, {maxNetworkRetries: 2});
	for (const fault of ['reset_before', 'reset_after', 'drop_after',
		'error_500', 'error_503', 'conflict_409']) {
		const before = await control('GET', '/_test/truth?summary=1');
		await control('POST', '/_test/faults', {fault, ms: 1});
		const intent = await patient.paymentIntents.create(manual);
		const after = await control('GET', '/_test/truth?summary=1');
		is(intent.status, 'requires_capture', `${fault}: the retry succeeds`);
		is(after.intents.count - before.intents.count, 1,
			`${fault}: executed exactly once`);
	}

	await control('POST', '/_test/faults', {fault: 'rate_limit_429'});
	await failsWith(Stripe.errors.StripeRateLimitError,
		patient.paymentIntents.create(manual),
		'rate_limit_429: StripeRateLimitError');
	await control('POST', '/_test/faults', {fault: 'error_500',
		should_retry: false});
	await failsWith(Stripe.errors.StripeAPIError,
		patient.paymentIntents.create(manual),
		'error_500 that is not to be retried: StripeAPIError');
	await control('POST', '/_test/faults', {fault: 'garbage'});
	await failsWith(Stripe.errors.StripeAPIError,
		stripe.paymentIntents.create(manual), 'garbage: StripeAPIError');
	// a closed connection is tried once more even without retries
	await control('POST', '/_test/faults',
		{fault: 'drop_after', ms: 1, times: 2});
	await failsWith(Stripe.errors.StripeConnectionError,
		stripe.paymentIntents.create(manual),
		'drop_after: StripeConnectionError');
}

for (const part of [capturesAndRefunds, cancels, declines, idempotency, errors,
	customerActions, lists, retries]) {
	try {
		await part();
	} catch (error) {
		ok(false, `${part.name} ends`, error.stack.replace(/\n/g, '\n# '));
	}
}
console.log(`1..${count}`);
// the client's timers would keep the process alive
process.exit(failures === 0 ? 0 : 1);
