#!/usr/bin/env python3
"""Checks Stripe requests and replies against Stripe's OpenAPI description.

  conformance.py --spec spec3.json FILE...
      checks recorded requests, one JSON object a line with method, path,
      headers and body, as psp-server --log writes them
  conformance.py --spec spec3.json --mock URL FILE...
      also sends each of them to a stripe-mock, which must accept it
  conformance.py --spec spec3.json --server URL
      takes a tour through a PSP test server and checks its replies

"stripe_mock.sh spec" prints where a current description is. The last line
says "N passed, N failed"; the exit status is 0 only if nothing failed and
something was checked.
"""

import argparse
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

from spec.forms import request_problems
from spec.openapi import Description, ReplyCheck
from spec.report import Report, recorded
from spec.stripe_flow import tour


def mock_problems(connection, request):
    """Sends a request to stripe-mock; returns what it does not like."""
    headers = {
        name: value for name, value in request.get("headers", {}).items()
        if name.lower() in ("content-type", "idempotency-key",
                            "stripe-account")
    }
    headers["Authorization"] = "Bearer sk_test_123"
    connection.request(request["method"], request["path"],
                       request.get("body") or None, headers)
    response = connection.getresponse()
    text = response.read().decode("utf-8", "replace")
    if response.status < 400:
        return []
    return [f"stripe-mock says {response.status}: {text.strip()}"]


def check_requests(description, paths, mock, newer, report):
    """Checks every request of some files.

    newer names parameters that the description may be too old to know.
    """
    excused = {f"{name}: unknown parameter" for name in newer}
    connection = None
    if mock is not None:
        url = urlsplit(mock)
        connection = HTTPConnection(url.hostname, url.port, timeout=30)
    for place, request in recorded(paths):
        problems = [
            problem for problem in request_problems(description, request)
            if problem not in excused
        ]
        if connection is not None:
            problems += mock_problems(connection, request)
        report.add(f"{place}: {request['method']} {request['path']}", problems)


def event_problems(check, reply):
    """Returns what is wrong with the objects within a list of events."""
    if not isinstance(reply, dict) or reply.get("url") != "/v1/events":
        return []
    return [
        f"{event['type']}: {problem}"
        for event in reply["data"]
        for problem in check.problems(
            event["data"]["object"],
            {"$ref": f"#/components/schemas/{event['data']['object']['object']}"},
            "object")
    ]


def check_server(description, address, api_key, strict, report):
    """Checks every reply of a server."""
    check = ReplyCheck(description, strict)
    for method, path, expected, status, reply in tour(address, api_key):
        name = f"{method} {path}: {status}"
        found = description.operation(method, path)
        if status != expected:
            problems = [f"expected {expected}, got {reply}"]
        elif found is None:
            problems = ["no such operation"]
        else:
            problems = check.problems(
                reply, description.response_schema(found[1], status))
            problems += event_problems(check, reply)
        report.add(name, problems)


def main():
    """Reads the command line and runs the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", required=True,
                        help="Stripe's description of the API")
    parser.add_argument("requests", nargs="*", metavar="FILE",
                        help="file of recorded requests")
    parser.add_argument("--mock", help="address of a stripe-mock")
    parser.add_argument("--newer", action="append", default=[],
                        metavar="NAME",
                        help="parameter that an older description may not "
                             "know; check it against a current one, too")
    parser.add_argument("--server", help="address of a PSP test server")
    parser.add_argument("--api-key", default="sk_test_payledger",
                        help="API key of that server")
    parser.add_argument("--strict", action="store_true",
                        help="refuse members that are not described")
    parser.add_argument("--verbose", action="store_true",
                        help="show what passed, too")
    args = parser.parse_args()
    if not args.requests and args.server is None:
        parser.error("nothing to check: give FILE or --server")

    description = Description(args.spec)
    report = Report(args.verbose)
    if args.requests:
        check_requests(description, args.requests, args.mock,
                       args.newer, report)
    if args.server is not None:
        check_server(description, args.server, args.api_key, args.strict,
                     report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
