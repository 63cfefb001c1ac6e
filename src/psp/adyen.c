/*
 * src/psp/adyen.c
 *		Adapter for Adyen: Checkout API v71.
 */
#include "postgres.h"

#include "psp/adyen.h"

/* Adyen's digits after the point, where they differ from ISO 4217 */
const PlExponent pl_adyen_exponents[] = {
	{"CLP", 2}, {"CVE", 0}, {"IDR", 0}, {"ISK", 2}, {NULL}
};
