// Drives the PSP test server with Adyen's own client and prints TAP.
//
//	node flow.js https://127.0.0.1:PORT API_KEY HMAC_KEY
//
// The client speaks https only: name the certificate in NODE_EXTRA_CA_CERTS.

import https from 'node:https';
import adyen from '@adyen/api-library';

const [, , address, apiKey, hmacKey] = process.argv;
if (!hmacKey) {
	console.error('usage: node flow.js URL API_KEY HMAC_KEY');
	process.exit(2);
}

// The part of the client that knows about payments, pointed at the server.
function clientOf(key) {
	const client = new adyen.Client({apiKey: key, environment: 'TEST'});
	const {PaymentsApi, ModificationsApi} = new adyen.CheckoutAPI(client);
	PaymentsApi.baseUrl = `${address}/v71`;
	ModificationsApi.baseUrl = `${address}/v71`;
	return {PaymentsApi, ModificationsApi};
}

const {PaymentsApi: payments, ModificationsApi: modifications} =
	clientOf(apiKey);
const validator = new adyen.hmacValidator();
let count = 0;
let failures = 0;
let payment = 0;

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
async function fails(promise, status, code, name) {
	try {
		const result = await promise;
		ok(false, name, `no error but ${JSON.stringify(result)}`);
		return {};
	} catch (error) {
		is(`${error.statusCode} ${error.errorCode}`, `${status} ${code}`,
			name);
		return error;
	}
}

// Sends a request to the control API of the server.
function control(method, path, body) {
	return new Promise((resolve, reject) => {
		const request = https.request(`${address}/_test${path}`, {method},
			(response) => {
				let text = '';
				response.on('data', (piece) => { text += piece; });
				response.on('end', () => resolve(JSON.parse(text)));
			});
		request.on('error', reject);
		request.end(body === undefined ? undefined : JSON.stringify(body));
	});
}

// A payment with one of the test payment methods.
function paymentWith(method) {
	payment += 1;
	return {
		amount: {currency: 'EUR', value: 2900},
		merchantAccount: 'Marketplace',
		paymentMethod: {type: 'scheme', storedPaymentMethodId: method},
		reference: `pl_${payment}_1`,
		returnUrl: 'https://shop.example/back',
		shopperReference: 'BUYER-1',
		shopperInteraction: 'ContAuth',
	};
}

async function authorizesAndCaptures() {
	const paid = await payments.payments(paymentWith('authorised'),
		{idempotencyKey: 'flow-pay'});
	is(paid.resultCode, 'Authorised', 'authorised');
	is(paid.amount.value, 2900, 'amount');
	const capture = await modifications.captureAuthorisedPayment(
		paid.pspReference, {
			amount: {currency: 'EUR', value: 1000},
			merchantAccount: 'Marketplace',
			reference: 'flow-capture',
		}, {idempotencyKey: 'flow-capture'});
	is(capture.status, 'received', 'capture received');
	is(capture.paymentPspReference, paid.pspReference, 'of the payment');
	const refund = await modifications.refundCapturedPayment(
		paid.pspReference, {
			amount: {currency: 'EUR', value: 400},
			merchantAccount: 'Marketplace',
			merchantRefundReason: 'RETURN',
			reference: 'flow-refund',
		});
	is(refund.status, 'received', 'refund received');
	is(refund.merchantRefundReason, 'RETURN', 'its reason');
	const truth = await control('GET', `/truth?intent=${paid.pspReference}`);
	is(`${truth.amount_received} ${truth.amount_refunded}`, '1000 400',
		'the truth');
	const whole = await modifications.refundOrCancelPayment(
		paid.pspReference, {merchantAccount: 'Marketplace'});
	is(whole.status, 'received', 'reversal received');
}

async function cancels() {
	const paid = await payments.payments(paymentWith('authorised'));
	const cancel = await modifications.cancelAuthorisedPaymentByPspReference(
		paid.pspReference, {merchantAccount: 'Marketplace'});
	is(cancel.status, 'received', 'cancel received');
	const other = paymentWith('authorised');
	await payments.payments(other);
	const standalone = await modifications.cancelAuthorisedPayment({
		merchantAccount: 'Marketplace', paymentReference: other.reference,
	});
	is(standalone.paymentReference, other.reference, 'cancel by reference');
	const summary = await control('GET', '/truth?summary=1');
	is(summary.cancelled.count, 2, 'both are cancelled');
}

async function shopperActions() {
	const redirect = await payments.payments(paymentWith('redirect'));
	is(redirect.resultCode, 'RedirectShopper', 'redirect');
	is(redirect.action.type, 'redirect', 'the action');
	const result = new URL(redirect.action.url).searchParams
		.get('redirectData');
	const done = await payments.paymentsDetails(
		{details: {redirectResult: result}});
	is(done.resultCode, 'Authorised', 'details');

	const identify = await payments.payments(paymentWith('identify'));
	is(identify.action.type, 'threeDS2', '3D Secure 2');
	const details = {details: {threeDSResult: identify.action.paymentData}};
	const challenge = await payments.paymentsDetails(details);
	is(challenge.resultCode, 'ChallengeShopper', 'challenge');
	is((await payments.paymentsDetails(details)).resultCode, 'Authorised',
		'then authorised');
}

async function errors() {
	const refused = await payments.payments(paymentWith('refused'));
	is(`${refused.resultCode} ${refused.refusalReasonCode}`, 'Refused 2',
		'refused');
	await fails(clientOf('wrong').PaymentsApi.payments(
		paymentWith('authorised')), 401, '000', 'wrong API key');
	await fails(payments.payments(
		{...paymentWith('authorised'), merchantAccount: 'Unknown'}), 403,
		'901', 'unknown merchant account');
	const error = await fails(payments.payments(
		{...paymentWith('authorised'), returnUrl: undefined}), 422, '14_030',
		'no return URL');
	is(error.apiError?.errorType, 'validation', 'errorType');
	await fails(modifications.captureAuthorisedPayment('NOBODY', {
		amount: {currency: 'EUR', value: 1}, merchantAccount: 'Marketplace',
	}), 422, '167', 'no such payment');
	const request = paymentWith('authorised');
	const first = await payments.payments(request,
		{idempotencyKey: 'flow-again'});
	const second = await payments.payments(request,
		{idempotencyKey: 'flow-again'});
	is(second.pspReference, first.pspReference, 'a key gives the same reply');
	await control('POST', '/faults', {fault: 'conflict_409'});
	await fails(payments.payments(paymentWith('authorised')), 409, '704',
		'in progress');
}

// Everything the server signed is authentic, and nothing that was changed.
async function webhooks() {
	const captured = await payments.payments(paymentWith('refund_reversed'));
	for (const change of ['captureAuthorisedPayment',
		'refundCapturedPayment']) {
		await modifications[change](captured.pspReference, {
			amount: {currency: 'EUR', value: 2900},
			merchantAccount: 'Marketplace',
		});
	}
	const disputed = await payments.payments(paymentWith('authorised'));
	await modifications.captureAuthorisedPayment(disputed.pspReference, {
		amount: {currency: 'EUR', value: 2900}, merchantAccount: 'Marketplace',
		reference: 'with:colon\\',
	});
	for (const step of ['chargeback', 'reverse', 'second']) {
		await control('POST', `/adyen/${disputed.pspReference}/${step}`, {});
	}
	await control('POST', '/adyen/report', {});
	const sent = await control('GET', '/webhooks?psp=adyen');
	ok(sent.length > 20, 'webhooks', sent.length);
	const items = sent.map(({body}) =>
		JSON.parse(body).notificationItems[0].NotificationRequestItem);
	for (const item of items) {
		ok(validator.validateHMAC(item, hmacKey),
			`${item.eventCode} is authentic`, JSON.stringify(item));
	}
	const changed = {...items[0], success: 'false'};
	ok(!validator.validateHMAC(changed, hmacKey), 'a changed one is not');
	const codes = new Set(items.map((item) => item.eventCode));
	for (const code of ['AUTHORISATION', 'CAPTURE', 'CANCELLATION', 'REFUND',
		'TECHNICAL_CANCEL', 'CANCEL_OR_REFUND', 'REFUNDED_REVERSED',
		'CHARGEBACK', 'SECOND_CHARGEBACK', 'REPORT_AVAILABLE']) {
		ok(codes.has(code), `${code} was among them`);
	}
}

for (const part of [authorizesAndCaptures, cancels, shopperActions, errors,
	webhooks]) {
	try {
		await part();
	} catch (error) {
		ok(false, `${part.name} ends`,
			(error.stack ?? error.message).replace(/\n/g, '\n# '));
	}
}
console.log(`1..${count}`);
process.exit(failures === 0 ? 0 : 1);
