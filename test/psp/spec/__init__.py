"""Checks of requests and replies against an OpenAPI description."""
