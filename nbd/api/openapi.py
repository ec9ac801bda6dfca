"""The OpenAPI document, from the routes and the message types: it cannot say what the server does not do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .. import __version__, wire
from ..messages import ProblemAnswer
from .routes import Route


def document(routes: Sequence[Route]) -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(re.sub(r":[^}]+}", "}", route.path), {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "nbd", "version": __version__, "description": "HTTP over a unix socket; who asks is the kernel's word (SO_PEERCRED)."},
        "paths": paths,
    }


def operation(route: Route) -> dict[str, Any]:
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in re.findall(r"{(\w+)", route.path)]
    parameters += [{"name": name, "in": "query", "description": text, "schema": {"type": "string"}} for name, text in route.query.items()]
    content = {route.content_type: {"schema": wire.schema(route.answer)}}
    found: dict[str, Any] = {
        "summary": route.summary,
        "x-who": route.who.value,
        "parameters": parameters,
        "responses": {
            "2XX": {"description": "done", "content": content},
            "default": {"description": "refused or failed", "content": {"application/json": {"schema": wire.schema(ProblemAnswer)}}},
        },
    }
    if route.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": wire.schema(route.body)}}}
    return found
