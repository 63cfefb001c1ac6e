"""A tour through everything the PSP test server answers as Adyen."""

import json
from http.client import HTTPConnection, HTTPSConnection
from urllib.parse import urlsplit

PREFIX = "/v71"


class Client:
    """Sends requests and remembers the replies."""

    def __init__(self, address, api_key):
        url = urlsplit(address)
        kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
        self.connection = kind(url.hostname, url.port, timeout=30)
        self.api_key = api_key
        self.replies = []
        self.payments = 0

    def send(self, method, path, body=None, headers=None):
        """Sends one request; returns the status and the decoded body."""
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, headers or {})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read())

    def api(self, path, fields, expect=201, key=None, api_key=None):
        """Sends an API request and remembers the reply."""
        headers = {
            "X-API-Key": api_key or self.api_key,
            "Content-Type": "application/json",
        }
        if key is not None:
            headers["Idempotency-Key"] = key
        status, reply = self.send("POST", PREFIX + path, fields, headers)
        self.replies.append(("POST", path, expect, status, reply))
        return reply

    def pay(self, method, expect=200, **more):
        """Sends POST /payments."""
        self.payments += 1
        return self.api("/payments", {
            "amount": {"currency": "EUR", "value": 2900},
            "merchantAccount": "Marketplace",
            "paymentMethod": {
                "type": "scheme", "storedPaymentMethodId": method,
            },
            "reference": f"pl_{self.payments}_1",
            "returnUrl": "https://shop.example/back",
        } | more, expect)

    def modify(self, reply, what, value=None, **more):
        """Modifies the payment of a reply."""
        fields = {"merchantAccount": "Marketplace"} | more
        if value is not None:
            fields["amount"] = {"currency": "EUR", "value": value}
        return self.api(f"/payments/{reply['pspReference']}/{what}", fields)

    def control(self, path, body=None):
        """Sends a request to the control API."""
        status, reply = self.send("POST", f"/_test{path}", body)
        if status != 200:
            raise RuntimeError(f"/_test{path}: {status} {reply}")
        return reply


def payments(client):
    """Payments that go well."""
    paid = client.pay("authorised", metadata={"payment_id": "1"},
                      shopperReference="BUYER-1",
                      shopperInteraction="ContAuth",
                      recurringProcessingModel="UnscheduledCardOnFile")
    client.modify(paid, "captures", 1000, reference="pl_1_2")
    client.modify(paid, "captures", 1900)
    client.modify(paid, "captures", 1)
    client.modify(paid, "refunds", 700, reference="pl_1_3",
                  merchantRefundReason="RETURN")
    client.modify(paid, "reversals")
    client.modify(client.pay("authorised"), "reversals")
    client.modify(client.pay("authorised"), "cancels", reference="pl_3_2")
    client.pay("authorised")
    for reference in ("pl_4_1", "nobody"):
        client.api("/cancels", {
            "merchantAccount": "Marketplace", "paymentReference": reference,
        })


def outcomes(client):
    """Payments that end otherwise or later."""
    client.pay("refused")
    client.pay("error")
    for method, outcome in (("pending", "succeed"), ("received", "fail")):
        paid = client.pay(method)
        client.control(f"/adyen/{paid['pspReference']}/complete",
                       {"outcome": outcome})
    for method in ("redirect", "redirect_refused", "redirect_cancelled",
                   "redirect_pending"):
        action = client.pay(method)["action"]
        token = action["url"].split("=")[1]
        client.api("/payments/details",
                   {"details": {"redirectResult": token}}, 200)
    action = client.pay("identify")["action"]
    for _ in range(3):
        client.api("/payments/details", {
            "details": {"threeDSResult": action["paymentData"]},
        }, 200)


def failures(client):
    """Modifications that fail, disputes, expiry, reports."""
    for method in ("capture_fails", "capture_fails_later", "refund_fails",
                   "refund_fails_later", "refund_reversed"):
        paid = client.pay(method)
        client.modify(paid, "captures", 2900)
        client.modify(paid, "refunds", 2900)
    paid = client.pay("authorised")
    client.modify(paid, "captures", 2000)
    for step in ("chargeback", "reverse", "second", "expire"):
        client.control(f"/adyen/{paid['pspReference']}/{step}")
    client.control("/adyen/report")


def errors(client):
    """Requests that are refused."""
    client.pay("authorised", expect=403, merchantAccount="Unknown")
    client.pay("authorised", expect=400, colour="red")
    client.pay("nobody", expect=422)
    client.pay("authorised", expect=422,
               amount={"currency": "XXX", "value": 1})
    client.api("/payments", {}, 401, api_key="wrong")
    client.api("/payments/NOBODY/captures", {
        "merchantAccount": "Marketplace",
        "amount": {"currency": "EUR", "value": 1},
    }, 422)
    client.api("/payments/details", {"details": {}}, 422)
    for fault in ("error_500", "error_500_stored"):
        client.control("/faults", {"fault": fault})
        client.pay("authorised", expect=500)


def tour(address, api_key):
    """Returns the replies, and the webhooks that came of them.

    A reply is method, path, expected status, status and body; a webhook its
    type and body.
    """
    client = Client(address, api_key)
    for part in (payments, outcomes, failures, errors):
        part(client)
    _, webhooks = client.send("GET", "/_test/webhooks?psp=adyen")
    return client.replies, [
        (webhook["type"], json.loads(webhook["body"])) for webhook in webhooks
    ]
