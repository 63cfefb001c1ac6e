"""A tour through everything the PSP test server can answer."""

import json
import secrets
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlencode, urlsplit


class Client:
    """Sends requests and remembers the replies."""

    def __init__(self, address, api_key):
        url = urlsplit(address)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self.connection = kind(url.hostname, url.port, timeout=30)
        self.api_key = api_key
        self.replies = []

    def send(self, method, path, body=None, headers=None):
        """Sends one request; returns the status and the decoded body."""
        self.connection.request(method, path, body, headers or {})
        response = self.connection.getresponse()
        text = response.read()
        return response.status, json.loads(text)

    def api(self, method, path, params=None, expect=200, key=None,
            api_key=None):
        """Sends an API request and remembers the reply."""
        headers = {"Authorization": f"Bearer {api_key or self.api_key}"}
        text = urlencode(params or {})
        body = None
        target = path
        if key is not None:
            headers["Idempotency-Key"] = key
        if method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = text
        elif text:
            target = f"{path}?{text}"
        status, reply = self.send(method, target, body, headers)
        self.replies.append((method, path, expect, status, reply))
        return reply

    def control(self, method, path, body=None):
        """Sends a request to the control API."""
        status, reply = self.send(method, f"/_test{path}",
                                  None if body is None else json.dumps(body))
        if status != 200:
            raise RuntimeError(f"{method} /_test{path}: {status} {reply}")
        return reply


INTENTS = "/v1/payment_intents"
CARD = {
    "amount": 2900,
    "currency": "eur",
    "confirm": "true",
    "payment_method": "pm_card_visa",
    "description": "conformance",
    "metadata[order]": "ORDER-1",
    "transfer_group": "GROUP-1",
}
MANUAL = CARD | {"capture_method": "manual"}
MULTI = MANUAL | {
    "payment_method_options[card][request_multicapture]": "if_available",
}
EXPANDED = {"expand[]": "latest_charge"}


def payments(client):
    """Payments that go well."""
    client.api("POST", INTENTS, {"amount": 2900, "currency": "eur"})
    client.api("POST", INTENTS, CARD | EXPANDED | {
        "automatic_payment_methods[enabled]": "true",
        "application_fee_amount": 100,
        "transfer_data[destination]": "acct_1",
        "transfer_data[amount]": 2000,
        "customer": "cus_1",
        "receipt_email": "buyer@shop.example",
        "setup_future_usage": "off_session",
        "statement_descriptor_suffix": "SHOP",
    })
    key = secrets.token_hex(16)
    intent = client.api("POST", INTENTS, MULTI, key=key)
    client.api("POST", INTENTS, MULTI, key=key)
    client.api("POST", INTENTS, CARD, expect=400, key=key)
    path = f"{INTENTS}/{intent['id']}"
    client.api("GET", path, EXPANDED)
    client.api("POST", f"{path}/capture",
               {"amount_to_capture": 900, "final_capture": "false"})
    client.api("POST", f"{path}/capture", EXPANDED)
    client.api("POST", f"{path}/capture", expect=400)
    client.api("GET", path)
    refund = client.api("POST", "/v1/refunds", {
        "payment_intent": intent["id"],
        "amount": 400,
        "reason": "requested_by_customer",
        "metadata[why]": "late",
    })
    client.api("GET", f"/v1/refunds/{refund['id']}")
    client.api("GET", "/v1/refunds", {"payment_intent": intent["id"]})
    client.api("GET", INTENTS, {"limit": 3})
    client.api("GET", f"{INTENTS}/search",
               {"query": "metadata['order']:'ORDER-1'"})


def cancellations(client):
    """Payments that are given up."""
    intent = client.api("POST", INTENTS, MANUAL)
    client.api("POST", f"{INTENTS}/{intent['id']}/cancel",
               EXPANDED | {"cancellation_reason": "abandoned"})
    intent = client.api("POST", INTENTS, CARD | {
        "payment_method": "pm_card_pendingRefund"})
    refund = client.api("POST", "/v1/refunds",
                        {"payment_intent": intent["id"]})
    client.control("POST", f"/refunds/{refund['id']}/complete",
                   {"outcome": "fail"})
    client.api("GET", f"/v1/refunds/{refund['id']}")


def actions(client):
    """Payments for which the customer has to do something."""
    card = MANUAL | {"payment_method": "pm_card_threeDSecure2Required"}
    client.api("POST", INTENTS, card)
    client.api("POST", INTENTS, card | {"off_session": "true"}, expect=402)
    for outcome in ("succeed", "fail"):
        intent = client.api("POST", INTENTS, card | {
            "return_url": "https://shop.example/back"})
        client.control("POST", f"/intents/{intent['id']}/complete_action",
                       {"outcome": outcome})
        client.api("GET", f"{INTENTS}/{intent['id']}", EXPANDED)


def transfers(client):
    """Money that goes to connected accounts."""
    transfer = client.api("POST", "/v1/transfers", {
        "amount": 1000,
        "currency": "eur",
        "destination": "acct_1",
        "transfer_group": "GROUP-1",
        "metadata[payout_id]": "1",
    })
    path = f"/v1/transfers/{transfer['id']}"
    client.api("POST", f"{path}/reversals", {"amount": 400})
    client.api("POST", f"{path}/reversals", {"amount": 601}, expect=400)
    client.api("GET", path)
    client.api("GET", "/v1/transfers", {"transfer_group": "GROUP-1"})


def disputes(client):
    """Payments that banks take back or let expire."""
    for status in ("won", "lost"):
        intent = client.api("POST", INTENTS, CARD)
        dispute = client.control("POST", f"/intents/{intent['id']}/dispute")
        client.api("GET", f"/v1/disputes/{dispute['id']}")
        for step in ("under_review", status):
            client.control("POST", f"/disputes/{dispute['id']}/complete",
                           {"status": step})
        client.api("GET", f"/v1/disputes/{dispute['id']}")
        client.api("GET", "/v1/disputes", {"payment_intent": intent["id"]})
    intent = client.api("POST", INTENTS, MANUAL)
    client.control("POST", f"/intents/{intent['id']}/expire")
    client.api("GET", f"{INTENTS}/{intent['id']}", EXPANDED)
    for outcome in ("succeed", "fail"):
        intent = client.api("POST", INTENTS, CARD | {
            "payment_method": "pm_card_processing"})
        client.control("POST", f"/intents/{intent['id']}/complete_action",
                       {"outcome": outcome})


def events(client):
    """All events, in pages."""
    page = client.api("GET", "/v1/events", {"limit": 100})
    while page["has_more"]:
        page = client.api("GET", "/v1/events", {
            "limit": 100, "starting_after": page["data"][-1]["id"]})
    client.api("GET", f"/v1/events/{page['data'][0]['id']}")
    client.api("GET", "/v1/events/evt_none", expect=404)


def errors(client):
    """Requests that are refused."""
    for card in ("chargeDeclined", "chargeDeclinedInsufficientFunds",
                 "chargeDeclinedExpiredCard"):
        declined = client.api("POST", INTENTS, CARD | {
            "payment_method": f"pm_card_{card}"}, expect=402)
    intent = declined["error"]["payment_intent"]["id"]
    path = f"{INTENTS}/{intent}"
    client.api("GET", path, EXPANDED)
    client.api("POST", f"{path}/capture", expect=400)
    client.api("POST", f"{path}/confirm", {"payment_method": "pm_card_visa"})
    client.api("POST", f"{path}/cancel", expect=400)
    client.api("POST", "/v1/refunds",
               {"payment_intent": intent, "amount": 5000}, expect=400)
    client.api("POST", INTENTS, {"currency": "eur"}, expect=400)
    client.api("POST", INTENTS, {"amount": "x", "currency": "eur"},
               expect=400)
    client.api("POST", INTENTS, CARD | {"payment_method": "pm_none"},
               expect=400)
    client.api("GET", f"{INTENTS}/pi_none", expect=404)
    client.api("GET", INTENTS, expect=401, api_key="sk_test_wrong")
    for fault, status in (("error_500", 500), ("error_503", 503),
                          ("conflict_409", 409), ("rate_limit_429", 429)):
        client.control("POST", "/faults", {"fault": fault})
        client.api("POST", INTENTS, CARD, expect=status)


def tour(address, api_key):
    """Returns each reply as method, path, expected status, status and body."""
    client = Client(address, api_key)
    for part in (payments, cancellations, actions, errors, transfers,
                 disputes, events):
        part(client)
    return client.replies
