// Drives the PSP test server with Stripe's own client and prints TAP.
//
//	node flow.js http://127.0.0.1:PORT API_KEY WEBHOOK_SECRET
//
// What the client library understands without complaint, and turns into the
// errors it is documented to throw, is what it would get from Stripe.

import Stripe from 'stripe';

const [, , address, apiKey, webhookSecret] = process.argv;
if (!webhookSecret) {
	console.error('usage: node flow.js URL API_KEY WEBHOOK_SECRET');
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

async function transfersAndDisputes() {
	const transfer = await stripe.transfers.create({
		amount: 1000, currency: 'eur', destination: 'acct_1',
		transfer_group: 'pl_7', metadata: {payout_id: '7'},
	}, {idempotencyKey: 'flow-transfer'});
	is(transfer.amount, 1000, 'transfer');
	const reversal = await stripe.transfers.createReversal(transfer.id,
		{amount: 400});
	is(reversal.transfer, transfer.id, 'reversal');
	const [found] = (await stripe.transfers.list({transfer_group: 'pl_7'}))
		.data;
	is(found.amount_reversed, 400, 'transfer listed');
	await failsWith(Stripe.errors.StripeInvalidRequestError,
		stripe.transfers.create({
			amount: 1000, currency: 'eur', destination: 'acct_short',
		}), 'not enough money');

	const intent = await stripe.paymentIntents.create(
		{...manual, capture_method: 'automatic'});
	const opened = await control('POST',
		`/_test/intents/${intent.id}/dispute`, {amount: 900, fee: 1500});
	const dispute = await stripe.disputes.retrieve(opened.id);
	is(dispute.status, 'needs_response', 'dispute');
	is(dispute.balance_transactions[0].net, -2400, 'amount and fee are gone');
	await control('POST', `/_test/disputes/${opened.id}/complete`,
		{status: 'won'});
	const [won] = (await stripe.disputes.list({payment_intent: intent.id}))
		.data;
	is(won.balance_transactions.length, 2, 'won: the amount comes back');
}

// What webhooks bring is authentic, and /v1/events lists the same.
async function webhooks() {
	const sent = await control('GET', '/_test/webhooks?limit=100000');
	let authentic = 0;
	for (const {body, headers} of sent) {
		const event = stripe.webhooks.constructEvent(body,
			headers['Stripe-Signature'], webhookSecret);
		authentic += event.id === JSON.parse(body).id ? 1 : 0;
	}
	is(authentic, sent.length, `all of ${sent.length} webhooks are authentic`);
	for (const [name, change] of [
		['a changed body', ({body, headers}) =>
			[body.replace('evt_', 'evt-'), headers['Stripe-Signature'],
				webhookSecret]],
		['another secret', ({body, headers}) =>
			[body, headers['Stripe-Signature'], 'whsec_other']],
	]) {
		try {
			stripe.webhooks.constructEvent(...change(sent[0]));
			ok(false, `${name} is refused`, 'no error');
		} catch (error) {
			ok(error instanceof
				Stripe.errors.StripeSignatureVerificationError,
				`${name} is refused`, error.message);
		}
	}
	const [old] = await control('GET', '/_test/webhooks?limit=1&now=1000');
	try {
		stripe.webhooks.constructEvent(old.body,
			old.headers['Stripe-Signature'], webhookSecret);
		ok(false, 'an old one is refused', 'no error');
	} catch (error) {
		ok(/tolerance/.test(error.message), 'an old one is refused',
			error.message);
	}

	const ids = [];
	for await (const event of stripe.events.list({limit: 100})) {
		ids.push(event.id);
	}
	is(ids.join(), sent.map((webhook) => webhook.event_id).reverse().join(),
		'the client walks through all events');
	const event = await stripe.events.retrieve(ids[0]);
	is(JSON.stringify(event), sent.at(-1).body, 'an event is what was sent');
	const types = new Set(sent.map((webhook) => webhook.type));
	for (const type of ['payment_intent.created', 'charge.refunded',
		'refund.created', 'transfer.created', 'transfer.reversed',
		'charge.dispute.created', 'charge.dispute.funds_reinstated',
		'payment_intent.payment_failed', 'payment_intent.canceled']) {
		ok(types.has(type), `${type} was among them`);
	}
}

for (const part of [capturesAndRefunds, cancels, declines, idempotency, errors,
	customerActions, lists, retries, transfersAndDisputes, webhooks]) {
	try {
		await part();
	} catch (error) {
		ok(false, `${part.name} ends`, error.stack.replace(/\n/g, '\n# '));
	}
}
console.log(`1..${count}`);
// the client's timers would keep the process alive
process.exit(failures === 0 ? 0 : 1);
