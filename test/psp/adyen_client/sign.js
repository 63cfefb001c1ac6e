// Signs a webhook as Adyen's own library does.
//
//	node sign.js HEX_KEY < body		prints the body with its items signed
//	node sign.js --text HEX_KEY < text	prints the signature of a text

import {readFileSync} from 'node:fs';
import adyen from '@adyen/api-library';

const args = process.argv.slice(2);
const plain = args[0] === '--text';
const key = args[plain ? 1 : 0];
if (!key) {
	console.error('usage: node sign.js [--text] HEX_KEY < body');
	process.exit(2);
}
const validator = new adyen.hmacValidator();
const input = readFileSync(0, 'utf8');

if (plain) {
	console.log(validator.calculateHmac(input.replace(/\n$/, ''), key));
} else {
	const webhook = JSON.parse(input);
	for (const {NotificationRequestItem: item} of webhook.notificationItems) {
		item.additionalData = {
			...item.additionalData,
			hmacSignature: validator.calculateHmac(item, key),
		};
	}
	console.log(JSON.stringify(webhook));
}
