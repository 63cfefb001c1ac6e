"""Form-urlencoded requests checked against an OpenAPI description."""

import re
from reprlib import repr as shown
from urllib.parse import parse_qsl, urlsplit

from .openapi import best_of

FORM = "application/x-www-form-urlencoded"
LONGEST_KEY = 255


class FormError(Exception):
    """A form whose names contradict each other."""


def split_name(name):
    """Splits a[b][c] into a, b and c."""
    match = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]*\])*)", name)
    if match is None:
        raise FormError(f"{name}: is no name of a parameter")
    return [match[1]] + re.findall(r"\[([^\[\]]*)\]", match[2])


def nest(pairs):
    """Makes nested dicts of pairs; a[] is counted like a[0], a[1]."""
    root = {}
    for name, value in pairs:
        steps = split_name(name)
        inner = root
        for step in steps[:-1]:
            inner = inner.setdefault(step, {})
            if not isinstance(inner, dict):
                raise FormError(f"{name}: is both a value and an object")
        last = steps[-1] if steps[-1] != "" else str(len(inner))
        if last in inner:
            raise FormError(f"{name}: is given twice")
        inner[last] = value
    return root


class FormCheck:
    """Checks the parameters of requests."""

    def __init__(self, description):
        self.description = description

    def problems(self, value, schema, where):
        """Returns what is wrong with a parameter."""
        schema = self.description.resolve(schema)
        if "anyOf" in schema:
            return best_of(
                self.problems(value, alternative, where)
                for alternative in schema["anyOf"])
        kind = schema.get("type")
        if kind == "object":
            return self.object_problems(value, schema, where)
        if kind == "array":
            return self.array_problems(value, schema, where)
        if not isinstance(value, str):
            return [f"{where}: is no {kind} but has members"]
        return self.scalar_problems(value, schema, where)

    @staticmethod
    def scalar_problems(value, schema, where):
        """Returns what is wrong with a plain value."""
        shapes = {
            "integer": r"-?\d+",
            "number": r"-?\d+(\.\d+)?",
            "boolean": r"true|false",
            "string": r"(?s).*",
        }
        kind = schema.get("type", "string")
        if not re.fullmatch(shapes[kind], value):
            return [f"{where}: is no {kind}: {shown(value)}"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{where}: is none of {schema['enum']}: {shown(value)}"]
        if len(value) > schema.get("maxLength", len(value)):
            return [f"{where}: longer than {schema['maxLength']}"]
        if "pattern" in schema and not re.search(schema["pattern"], value):
            return [f"{where}: does not match {schema['pattern']}"]
        return []

    def array_problems(self, value, schema, where):
        """Returns what is wrong with a list."""
        if not isinstance(value, dict):
            return [f"{where}: is no array"]
        problems = []
        for index, item in value.items():
            inner = f"{where}[{index}]"
            if not index.isdigit():
                problems.append(f"{inner}: is no index of an array")
            problems += self.problems(item, schema["items"], inner)
        return problems

    def object_problems(self, value, schema, where):
        """Returns what is wrong with an object, or with all parameters."""
        if not isinstance(value, dict):
            return [f"{where}: is no object"]
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", False)
        problems = [
            f"{self.inner(where, name)}: required parameter is missing"
            for name in schema.get("required", []) if name not in value
        ]
        for name, member in value.items():
            inner = self.inner(where, name)
            if name in known:
                problems += self.problems(member, known[name], inner)
            elif isinstance(others, dict):
                problems += self.problems(member, others, inner)
            elif not others:
                problems.append(f"{inner}: unknown parameter")
        return problems

    @staticmethod
    def inner(where, name):
        """Names a member."""
        return f"{where}[{name}]" if where else name


def query_schema(operation):
    """Makes one schema of the query parameters of an operation."""
    parameters = [
        parameter for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    ]
    return {
        "type": "object",
        "properties": {
            parameter["name"]: parameter["schema"] for parameter in parameters
        },
        "required": [
            parameter["name"] for parameter in parameters
            if parameter.get("required")
        ],
    }


def header_problems(headers, has_body, content):
    """Returns what is wrong with the headers of a request."""
    headers = {name.lower(): value for name, value in headers.items()}
    problems = []
    if not re.match(r"(Bearer|Basic) \S", headers.get("authorization", "")):
        problems.append("Authorization: no API key")
    if len(headers.get("idempotency-key", "")) > LONGEST_KEY:
        problems.append(f"Idempotency-Key: longer than {LONGEST_KEY}")
    kind = headers.get("content-type", "").split(";")[0].strip().lower()
    if has_body and kind not in content:
        problems.append(f"Content-Type: {kind!r} is none of {list(content)}")
    return problems


def request_problems(description, request):
    """Returns what is wrong with a recorded request."""
    url = urlsplit(request["path"])
    body = request.get("body") or ""
    found = description.operation(request["method"], url.path)
    if found is None:
        return [f"{request['method']} {url.path}: no such operation"]
    _, operation = found
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get(FORM, {}).get("schema", {"type": "object"})
    check = FormCheck(description)
    problems = header_problems(request.get("headers", {}), body != "", content)
    for text, expected in ((url.query, query_schema(operation)),
                           (body, schema)):
        try:
            pairs = parse_qsl(text, keep_blank_values=True,
                              strict_parsing=text != "", errors="strict")
            problems += check.problems(nest(pairs), expected, "")
        except (FormError, ValueError) as error:
            problems.append(str(error))
    return problems
