#!/usr/bin/env python3
"""Checks the error classes of the adapters against the PSPs' descriptions.

  error_classes.py --classes FILE --stripe SPEC [--stripe SPEC] \\
                   [--stripe-codes SPEC] --adyen SPEC

FILE has the rows of payledger.psp_error_classes() as a JSON array. Every
status, error type, error code and state that a description names must have a
class, one of its own or that of a whole status or type; nothing that is
classed may be unknown to the descriptions. --stripe-codes is an edition that
lists the error codes, which others leave open. The last line says
"N passed, N failed".
"""

import argparse
import json
import re
import sys

# Documented, but not in the description of Checkout: the idempotency of
# Adyen's APIs (703, 704) and its errors of type internal.
ADYEN_ELSEWHERE = {"703", "704", "00_500"}

# Statuses of proxies in front of an API, of no PSP's description.
GATEWAY_STATUSES = {429, 502, 503, 504}

ADYEN_PATHS = (
    "/payments", "/payments/details", "/cancels",
    "/payments/{paymentPspReference}/captures",
    "/payments/{paymentPspReference}/cancels",
    "/payments/{paymentPspReference}/refunds")


class Report:
    """Prints what failed and counts."""

    def __init__(self):
        self.passed = 0
        self.failed = 0

    def check(self, passed, what):
        """Notes one check."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}")

    def close(self):
        """Prints the sum and returns the exit status."""
        print(f"{self.passed} passed, {self.failed} failed")
        return 0 if self.failed == 0 and self.passed > 0 else 1


class Classes:
    """The classes of one adapter."""

    def __init__(self, rows, adapter):
        self.rows = [row for row in rows if row["adapter"] == adapter]

    def version(self):
        """Returns the version of the API that they are of."""
        return {row["api_version"] for row in self.rows}

    def values(self, member, error_type=None):
        """Returns the values of a member, of a type if one is given."""
        return {row[member] for row in self.rows if row[member] is not None
                and (error_type is None or row["error_type"] == error_type)}

    def default(self):
        """Returns the outcome of what nothing else matches."""
        return [row["outcome"] for row in self.rows
                if row["http_status"] is None and row["error_type"] is None
                and row["error_code"] is None]

    def find(self, status, error_type, code):
        """Returns the most specific class, as payledger does."""
        best, best_score = None, -1
        for row in self.rows:
            score = 0
            for weight, member, value in ((1, "http_status", status),
                                          (2, "error_type", error_type),
                                          (4, "error_code", code)):
                if row[member] is None:
                    continue
                if row[member] != value:
                    score = -1
                    break
                score += weight
            if score > best_score:
                best, best_score = row, score
        return best


def check_common(classes, name, report):
    """Checks what holds for every adapter."""
    report.check(classes.default() == ["UNKNOWN"],
                 f"{name}: what is not classed is UNKNOWN")
    for row in classes.rows:
        status = row["http_status"]
        what = f"{name}: {status} {row['error_type']} {row['error_code']}"
        report.check(row["note"], f"{what} says why")
        if status is not None and status >= 500:
            report.check(row["outcome"] == "UNKNOWN", f"{what} is UNKNOWN")
        if row["outcome"] == "RETRY":
            report.check(row["in_doubt_outcome"] == "UNKNOWN",
                         f"{what} decides nothing about an earlier attempt")


def schema(spec, name):
    """Returns a schema of a description."""
    return spec["components"]["schemas"][name]["properties"]


def check_stripe_types(classes, spec, report):
    """Checks the types of errors."""
    enum = set(schema(spec, "api_errors")["type"]["enum"])
    for error_type in sorted(enum):
        statuses = [400, 402, 404, 409, 500]
        found = [classes.find(status, error_type, None) for status in statuses]
        report.check(all(found), f"stripe: type {error_type} has a class")
    used = classes.values("error_type")
    known = enum | {"payment_intent.status", "refund.status"}
    report.check(used <= known,
                 f"stripe: no such types: {sorted(used - known)}")


def check_stripe_states(classes, spec, report):
    """Checks the states of PaymentIntents and refunds."""
    refund = schema(spec, "refund")["status"]["description"]
    for error_type, states in (
            ("payment_intent.status",
             set(schema(spec, "payment_intent")["status"]["enum"])),
            ("refund.status", set(re.findall(r"`(\w+)`", refund)))):
        classed = classes.values("error_code", error_type)
        report.check(classed == states, f"stripe: {error_type} differs in "
                     f"{sorted(classed ^ states)}")


def check_stripe_codes(classes, spec, report):
    """Checks the error codes, by an edition that lists them."""
    enum = set(schema(spec, "api_errors")["code"]["enum"])
    used = classes.values("error_code") - \
        classes.values("error_code", "payment_intent.status") - \
        classes.values("error_code", "refund.status")
    report.check(used <= enum,
                 f"stripe: no such codes: {sorted(used - enum)}")
    report.check(len(enum) > 100, "stripe: there are codes")
    for code in sorted(enum):
        for error_type in ("card_error", "invalid_request_error"):
            report.check(classes.find(400, error_type, code) is not None,
                         f"stripe: code {code} has a class")
        # what is not documented for the code itself stays open at 5xx
        report.check(classes.find(500, "api_error", code)["outcome"] ==
                     "UNKNOWN", f"stripe: 500 {code} is UNKNOWN")


def check_adyen_results(classes, spec, report):
    """Checks the results of payments and the states of modifications."""
    for name in ("PaymentResponse", "PaymentDetailsResponse"):
        results = set(schema(spec, name)["resultCode"]["enum"])
        classed = classes.values("error_code", "resultCode")
        report.check(classed == results, f"adyen: resultCode of {name} "
                     f"differs in {sorted(classed ^ results)}")
    for name in ("PaymentCaptureResponse", "PaymentCancelResponse",
                 "PaymentRefundResponse", "StandalonePaymentCancelResponse"):
        states = set(schema(spec, name)["status"]["enum"])
        classed = classes.values("error_code", "status")
        report.check(classed == states, f"adyen: status of {name} differs "
                     f"in {sorted(classed ^ states)}")


def codes_in(value):
    """Yields the error codes of all examples in a description."""
    if isinstance(value, dict):
        if isinstance(value.get("errorCode"), str):
            yield value["errorCode"]
        for member in value.values():
            yield from codes_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from codes_in(member)


def check_adyen_errors(classes, spec, report):
    """Checks statuses and error codes."""
    statuses = set()
    for path in ADYEN_PATHS:
        statuses |= {int(status) for status
                     in spec["paths"][path]["post"]["responses"]}
    statuses = {status for status in statuses if status >= 400}
    classed = classes.values("http_status")
    report.check(statuses <= classed, f"adyen: statuses without a class: "
                 f"{sorted(statuses - classed)}")
    report.check(classed <= statuses | GATEWAY_STATUSES, "adyen: no such "
                 f"statuses: {sorted(classed - statuses - GATEWAY_STATUSES)}")
    known = set(codes_in(spec)) | ADYEN_ELSEWHERE
    used = classes.values("error_code") - \
        classes.values("error_code", "resultCode") - \
        classes.values("error_code", "status")
    report.check(used <= known,
                 f"adyen: no such codes: {sorted(used - known)}")
    for code in sorted(known):
        report.check(classes.find(422, "validation", code) is not None,
                     f"adyen: code {code} has a class")


def load(path):
    """Reads a JSON file."""
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def main():
    """Reads the command line and runs the checks."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", required=True)
    parser.add_argument("--stripe", action="append", required=True)
    parser.add_argument("--stripe-codes", action="append", default=[])
    parser.add_argument("--adyen", required=True)
    args = parser.parse_args()
    rows = load(args.classes)
    report = Report()

    stripe = Classes(rows, "stripe")
    check_common(stripe, "stripe", report)
    specs = [load(path) for path in args.stripe]
    for spec in specs:
        check_stripe_types(stripe, spec, report)
        check_stripe_states(stripe, spec, report)
    versions = {spec["info"]["version"] for spec in specs}
    report.check(stripe.version() <= versions, "stripe: classes of version "
                 f"{stripe.version()}, descriptions of {versions}")
    for path in args.stripe_codes:
        check_stripe_codes(stripe, load(path), report)

    adyen = Classes(rows, "adyen")
    spec = load(args.adyen)
    check_common(adyen, "adyen", report)
    check_adyen_results(adyen, spec, report)
    check_adyen_errors(adyen, spec, report)
    report.check(adyen.version() == {"v" + spec["info"]["version"]},
                 f"adyen: classes of version {adyen.version()}")
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
