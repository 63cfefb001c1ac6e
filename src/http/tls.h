/*
 * src/http/tls.h
 *		An end to what a TLS server may send beside data.
 */
#ifndef PL_HTTP_TLS_H
#define PL_HTTP_TLS_H

#include <curl/curl.h>

extern bool pl_tls_init(void);
extern CURLcode pl_tls_bound(CURL *easy, void *context, void *unused);
extern bool pl_tls_was_flood(const char *error);

#endif							/* PL_HTTP_TLS_H */
