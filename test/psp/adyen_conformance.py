#!/usr/bin/env python3
"""Checks requests, replies and webhooks against Adyen's OpenAPI descriptions.

  adyen_conformance.py --spec checkout.json FILE...
      checks recorded requests, one JSON object a line with method, path,
      headers and body, as psp-server --log writes them
  adyen_conformance.py --spec checkout.json --mock URL FILE...
      also sends each of them to a Prism mock of it, which must accept it
  adyen_conformance.py --spec checkout.json --webhooks webhooks.json
                       --server URL
      takes a tour through a PSP test server; checks its replies and webhooks

The last line says "N passed, N failed"; the exit status is 0 only if nothing
failed and something was checked.
"""

import argparse
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

from spec.adyen_flow import PREFIX, tour
from spec.bodies import request_problems
from spec.openapi import Description, ReplyCheck
from spec.report import Report, recorded

LONGEST_KEY = 64


def mock_problems(connection, request):
    """Sends a request to a Prism mock; returns what it does not like."""
    headers = {
        name: value for name, value in request.get("headers", {}).items()
        if name.lower() in ("content-type", "idempotency-key", "x-api-key")
    }
    connection.request(request["method"],
                       request["path"].removeprefix(PREFIX),
                       request.get("body") or None, headers)
    response = connection.getresponse()
    text = response.read().decode("utf-8", "replace")
    violations = response.getheader("sl-violations")
    if violations is not None:
        return [f"Prism says {response.status}: {violations}"]
    if response.status >= 400:
        return [f"Prism says {response.status}: {text.strip()}"]
    return []


def check_requests(description, paths, mock, report):
    """Checks every request of some files."""
    connection = None
    if mock is not None:
        url = urlsplit(mock)
        connection = HTTPConnection(url.hostname, url.port, timeout=60)
    for place, request in recorded(paths):
        problems = request_problems(description, request, PREFIX, LONGEST_KEY)
        if connection is not None:
            problems += mock_problems(connection, request)
        report.add(f"{place}: {request['method']} {request['path']}", problems)


def check_replies(description, replies, report):
    """Checks the replies of a server."""
    check = ReplyCheck(description, strict=True)
    for method, path, expected, status, reply in replies:
        found = description.operation(method, path)
        if status != expected:
            problems = [f"expected {expected}, got {reply}"]
        elif found is None:
            problems = ["no such operation"]
        else:
            problems = check.problems(
                reply, description.response_schema(found[1], status))
        report.add(f"{method} {path}: {status}", problems)


def check_webhooks(description, webhooks, report):
    """Checks the webhooks of a server."""
    check = ReplyCheck(description, strict=True)
    for kind, body in webhooks:
        schema = description.webhook_schema(kind)
        report.add(f"webhook {kind}", ["no such webhook"] if schema is None
                   else check.problems(body, schema, "webhook"))


def main():
    """Reads the command line and runs the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True,
                        help="Adyen's description of the Checkout API")
    parser.add_argument("--webhooks", help="Adyen's description of webhooks")
    parser.add_argument("requests", nargs="*", metavar="FILE",
                        help="file of recorded requests")
    parser.add_argument("--mock", help="address of a Prism mock")
    parser.add_argument("--server", help="address of a PSP test server")
    parser.add_argument("--api-key", default="sk_test_payledger",
                        help="API key of that server")
    parser.add_argument("--verbose", action="store_true",
                        help="show what passed, too")
    args = parser.parse_args()
    if not args.requests and args.server is None:
        parser.error("nothing to check: give FILE or --server")

    description = Description(args.spec)
    report = Report(args.verbose)
    if args.requests:
        check_requests(description, args.requests, args.mock, report)
    if args.server is not None:
        replies, webhooks = tour(args.server, args.api_key)
        check_replies(description, replies, report)
        if args.webhooks is not None:
            check_webhooks(Description(args.webhooks), webhooks, report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
