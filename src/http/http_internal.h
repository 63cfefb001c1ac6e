/*
 * src/http/http_internal.h
 *		What the files of this room share.
 */
#ifndef PL_HTTP_INTERNAL_H
#define PL_HTTP_INTERNAL_H

#include "http/http.h"

/* ---- address.c: where a gateway may be ---- */

typedef enum PlAddressClass
{
	PL_ADDRESS_PUBLIC,
	PL_ADDRESS_LOOPBACK,
	PL_ADDRESS_PRIVATE			/* any other that is not for the internet */
} PlAddressClass;

extern PlAddressClass pl_address_class(const struct sockaddr *address);

/* ---- networks.c: addresses of one's own ---- */

extern bool pl_in_own_network(const struct sockaddr *address);

/* ---- request.c: what a request must look like ---- */

extern const char *pl_http_method_name(PlHttpMethod method);
extern PlHttpMethod pl_http_method_by_name(const char *name);
extern const char *pl_http_request_problem(const PlHttpRequest *request);
extern void pl_check_http_headers(const List *headers);

#endif							/* PL_HTTP_INTERNAL_H */
