"""Requests with JSON bodies checked against an OpenAPI description."""

import json
from urllib.parse import urlsplit

from .openapi import ReplyCheck

JSON = "application/json"


def header_problems(headers, longest_key):
    """Returns what is wrong with the headers of a request to Adyen."""
    headers = {name.lower(): value for name, value in headers.items()}
    problems = []
    if not headers.get("x-api-key"):
        problems.append("X-API-Key: no API key")
    if len(headers.get("idempotency-key", "")) > longest_key:
        problems.append(f"Idempotency-Key: longer than {longest_key}")
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != JSON:
        problems.append(f"Content-Type: {kind!r} is not {JSON}")
    return problems


def request_problems(description, request, prefix, longest_key):
    """Returns what is wrong with a recorded request.

    prefix is the part of its path that the description does not have.
    """
    path = urlsplit(request["path"]).path
    if not path.startswith(prefix):
        return [f"{path}: not below {prefix}"]
    found = description.operation(request["method"], path.removeprefix(prefix))
    if found is None:
        return [f"{request['method']} {path}: no such operation"]
    problems = header_problems(request.get("headers", {}), longest_key)
    content = found[1]["requestBody"]["content"]
    try:
        body = json.loads(request.get("body") or "")
    except ValueError as error:
        return problems + [f"body: {error}"]
    check = ReplyCheck(description, strict=True)
    return problems + check.problems(body, content[JSON]["schema"], "body")
