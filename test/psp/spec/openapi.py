"""An OpenAPI description, and JSON values checked against its schemas.

Only the keywords that the descriptions of Stripe and Adyen use are known;
another one is an error, so that a newer description cannot pass unnoticed.
"""

import json
import re
from reprlib import repr as shown
from urllib.parse import unquote

ANNOTATIONS = {
    "bearerFormat", "default", "deprecated", "description", "example",
    "externalDocs", "properties", "readOnly", "scheme", "title",
}
KEYWORDS = ANNOTATIONS | {
    "$ref", "additionalProperties", "anyOf", "enum", "format", "items",
    "maxLength", "minLength", "nullable", "oneOf", "pattern", "required",
    "type",
}


def is_kind(value, kind):
    """Says whether a JSON value has a type of JSON schema."""
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    types = {"string": str, "boolean": bool, "object": dict, "array": list}
    return isinstance(value, types[kind])


def best_of(alternatives):
    """Returns the problems of the alternative that has the fewest."""
    best = None
    for problems in alternatives:
        if not problems:
            return []
        if best is None or len(problems) < len(best):
            best = problems
    return best


class Description:
    """What an OpenAPI file says."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.root = json.load(file)
        self.routes = [
            (self.pattern(template), template)
            for template in sorted(self.root.get("paths", {}),
                                   key=lambda path: path.count("{"))
        ]

    @staticmethod
    def pattern(template):
        """Makes a regular expression of a path with {names}."""
        parts = re.split(r"(\{\w+\})", template)
        return re.compile("".join(
            "([^/]+)" if part.startswith("{") else re.escape(part)
            for part in parts) + "$")

    def resolve(self, schema):
        """Follows a reference."""
        while "$ref" in schema:
            target = self.root
            for step in schema["$ref"].removeprefix("#/").split("/"):
                target = target[unquote(step)]
            schema = target
        unknown = {
            keyword for keyword in schema
            if keyword not in KEYWORDS and not keyword.startswith("x-")
        }
        if unknown:
            raise ValueError(f"unknown keywords in the description: {unknown}")
        return schema

    def operation(self, method, path):
        """Finds an operation; returns its template and itself, or None.

        A path without parameters goes before one that has some.
        """
        for pattern, template in self.routes:
            operation = self.root["paths"][template].get(method.lower())
            if operation is not None and pattern.match(path):
                return template, operation
        return None

    def webhook_schema(self, name):
        """Returns the schema of a webhook, or None."""
        webhook = self.root["webhooks"].get(f"/{name}")
        if webhook is None:
            return None
        content = webhook["post"]["requestBody"]["content"]
        return content["application/json"]["schema"]

    def response_schema(self, operation, status):
        """Returns the schema of a reply."""
        responses = operation["responses"]
        response = responses.get(str(status), responses.get("default"))
        return response["content"]["application/json"]["schema"]


class ReplyCheck:
    """Checks JSON values against schemas.

    When strict, a member that the description does not know is a problem.
    """

    def __init__(self, description, strict=False):
        self.description = description
        self.strict = strict

    def problems(self, value, schema, where="reply"):
        """Returns what is wrong with a value."""
        schema = self.description.resolve(schema)
        if value is None:
            return [] if schema.get("nullable") else [f"{where}: is null"]
        alternatives = schema.get("anyOf", schema.get("oneOf"))
        if alternatives is not None:
            return best_of(
                self.problems(value, alternative, where)
                for alternative in self.of_kind(value, alternatives))
        if "type" in schema and not is_kind(value, schema["type"]):
            return [f"{where}: is no {schema['type']}: {shown(value)}"]
        if "enum" in schema and value not in schema["enum"]:
            return [f"{where}: is none of {schema['enum']}: {shown(value)}"]
        if isinstance(value, str):
            return self.string_problems(value, schema, where)
        if isinstance(value, list):
            return [
                problem
                for index, item in enumerate(value)
                for problem in self.problems(
                    item, schema.get("items", {}), f"{where}[{index}]")
            ]
        if isinstance(value, dict):
            return self.object_problems(value, schema, where)
        return []

    def of_kind(self, value, alternatives):
        """Returns the alternatives of the value's type, or else all."""
        schemas = [self.description.resolve(one) for one in alternatives]
        fitting = [
            schema for schema in schemas
            if "type" in schema and is_kind(value, schema["type"])
        ]
        return fitting or schemas

    @staticmethod
    def string_problems(value, schema, where):
        """Returns what is wrong with a string."""
        problems = []
        if len(value) > schema.get("maxLength", len(value)):
            problems.append(f"{where}: longer than {schema['maxLength']}")
        if len(value) < schema.get("minLength", 0):
            problems.append(f"{where}: shorter than {schema['minLength']}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            problems.append(f"{where}: does not match {schema['pattern']}")
        return problems

    def object_problems(self, value, schema, where):
        """Returns what is wrong with an object."""
        known = schema.get("properties", {})
        others = schema.get("additionalProperties", not self.strict)
        if not known and "additionalProperties" not in schema:
            others = True
        problems = [
            f"{where}.{name}: required property is missing"
            for name in schema.get("required", []) if name not in value
        ]
        for name, member in value.items():
            inner = f"{where}.{name}"
            if name in known:
                problems += self.problems(member, known[name], inner)
            elif isinstance(others, dict):
                problems += self.problems(member, others, inner)
            elif not others:
                problems.append(f"{inner}: property is not described")
        return problems
