// Signs a webhook as Stripe's own library does.
//
//	node sign.js SECRET [SECONDS_SINCE_1970] < body
//
// prints the header Stripe-Signature.

import {readFileSync} from 'node:fs';
import Stripe from 'stripe';

const [, , secret, timestamp] = process.argv;
if (!secret) {
	console.error('usage: node sign.js SECRET [SECONDS_SINCE_1970] < body');
	process.exit(2);
}
console.log(new Stripe('sk_test_none').webhooks.generateTestHeaderString({
	payload: readFileSync(0, 'utf8'),
	secret,
	...timestamp === undefined ? {} : {timestamp: Number(timestamp)},
}));
