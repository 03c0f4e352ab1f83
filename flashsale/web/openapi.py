"""The OpenAPI 3.1 document, made from the routes themselves; it describes and never decides.

A `Route` is declared once: the router, the checks of who calls, and this document all read it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from flashsale import __version__
from flashsale.web.errors import KINDS, PROBLEM_MEDIA_TYPE
from flashsale.web.schemas import ProblemView

_REFERENCE = "#/components/schemas/{model}"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Auth(StrEnum):
    """Who may call: the public, a buyer, or an API key with a scope."""

    NONE = "none"
    BUYER = "buyer"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


_KEYWORDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_TAGS = (
    ("/v1/merchant/", "Merchants"),
    ("/v1/providers/", "Payment providers"),
    ("/v1/", "Buyers"),
    ("/", "Operations"),
)
_TOKEN_REFUSALS = ("token_too_long", "token_invalid", "token_expired")
_KEY_REFUSALS = ("token_too_long", "api_key_invalid", "scope_missing")
_BODY_REFUSALS = (
    "request_timeout",
    "body_malformed",
    "unsupported_media_type",
    "body_too_large",
    "validation_failed",
)
_BYTES_REFUSALS = ("request_timeout", "unsupported_media_type", "body_too_large")


@dataclass(frozen=True, slots=True)
class Route:
    """One call: where it is, who may make it, what goes in and what can come out.

    `refusals` are the codes particular to it; those of its `auth`, `body` and `query` are added.
    The handler's docstring is its summary.
    `takes` is the media type of a body that is no JSON of ours, and so has no model.
    An `answer` of None with a `media_type` is text; `others` are further answers by status, and
    `sends` the headers that come with a good one.
    """

    method: str
    path: str
    handler: Handler
    auth: Auth
    answer: type[BaseModel] | None
    refusals: Sequence[str] = ()
    status: int = 200
    body: type[BaseModel] | None = None
    takes: str | None = None
    query: type[BaseModel] | None = None
    required_header: str | None = None
    optional_header: str | None = None
    media_type: str = "application/json"
    others: Mapping[int, type[BaseModel]] = field(default_factory=dict)
    sends: Sequence[str] = ()

    @property
    def summary(self) -> str:
        """The first line of the handler's docstring."""
        return (self.handler.__doc__ or "").split("\n")[0].rstrip(".")

    @property
    def tag(self) -> str:
        """Under which heading the call is shown."""
        return next(tag for start, tag in _TAGS if self.path.startswith(start))

    def codes(self) -> list[str]:
        """Every problem code that the call can answer with."""
        codes = [*self.refusals]
        if self.path.startswith("/v1/") and self.path != "/v1/time":
            codes.append("recovering")
        if self.path.startswith("/v1/") and self.tag != "Payment providers":
            codes.append("rate_limited")
        if self.auth is Auth.BUYER:
            codes += _TOKEN_REFUSALS
        elif self.auth is not Auth.NONE:
            codes += _KEY_REFUSALS
        if self.body is not None:
            codes += _BODY_REFUSALS
        if self.takes is not None:
            codes += _BYTES_REFUSALS
        if self.query is not None:
            codes.append("validation_failed")
        return sorted(set(codes))


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Describe `routes`; ValueError where a refusal is not in the table of problems."""
    routes = list(routes)
    inputs: set[type[BaseModel]] = {route.body for route in routes if route.body}
    outputs: set[type[BaseModel]] = {
        ProblemView,
        *(route.answer for route in routes if route.answer),
    }
    outputs.update(*(route.others.values() for route in routes))
    described: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
        *((model, "validation") for model in sorted(inputs, key=_name)),
        *((model, "serialization") for model in sorted(outputs, key=_name)),
    ]
    _, definitions = models_json_schema(described, ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = defaultdict(dict)
    for route in routes:
        paths[route.path][route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Flashsale",
            "version": __version__,
            "summary": "Sells a limited number of units at an announced instant.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": dict(paths),
        "components": {
            "schemas": _standard(definitions.get("$defs", {})),
            "securitySchemes": {
                "buyer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "merchant": {"type": "http", "scheme": "bearer", "bearerFormat": "fs_…"},
            },
        },
    }


def _standard(schema: Any) -> Any:
    """A schema of pydantic's in the words of JSON Schema 2020-12 alone.

    Behind a validator of ours it leaves bounds as `ge` and `le`, and behind a hidden null the
    default null: both would mislead whoever generates a client.
    """
    if isinstance(schema, list):
        return [_standard(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {_keyword(name): _standard(each) for name, each in schema.items()}
    if plain.get("default", ...) is None and not _may_be_null(plain):
        del plain["default"]
    return plain


def _keyword(name: str) -> str:
    return _KEYWORDS.get(name, name)


def _may_be_null(schema: Mapping[str, Any]) -> bool:
    return any(each.get("type") == "null" for each in [schema, *schema.get("anyOf", ())])


def _name(model: type[BaseModel]) -> str:
    return model.__name__


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": [route.tag],
        "summary": route.summary,
        "operationId": route.handler.__name__,
        "responses": {**_answers(route), **_problems(route.codes())},
    }
    if parameters := [*_path_parameters(route.path), *_query(route.query), *_headers(route)]:
        operation["parameters"] = parameters
    if route.auth is Auth.BUYER:
        operation["security"] = [{"buyer": []}]
    elif route.auth is not Auth.NONE:
        operation["security"] = [{"merchant": [route.auth.value]}]
    if route.body is not None:
        content = {"application/json": {"schema": _reference(route.body)}}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.takes is not None:
        content = {route.takes: {"schema": {"type": "string"}}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _answers(route: Route) -> dict[str, Any]:
    if route.status == HTTPStatus.NO_CONTENT:
        return {str(route.status): {"description": HTTPStatus.NO_CONTENT.phrase}}
    models = {route.status: route.answer, **route.others}
    answers = {str(status): _answer(status, model, route) for status, model in models.items()}
    if route.sends:
        sent = {name: {"schema": {"type": "string"}} for name in route.sends}
        answers[str(route.status)]["headers"] = sent
        if route.optional_header == "If-None-Match":
            unchanged = HTTPStatus.NOT_MODIFIED
            answers[str(unchanged.value)] = {"description": unchanged.phrase, "headers": sent}
    return answers


def _answer(status: int, model: type[BaseModel] | None, route: Route) -> dict[str, Any]:
    schema = {"type": "string"} if model is None else _reference(model)
    return {
        "description": HTTPStatus(status).phrase,
        "content": {route.media_type: {"schema": schema}},
    }


def _problems(codes: Sequence[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        if code not in KINDS:
            raise ValueError(f"{code} is not in the table of problems")
        by_status[KINDS[code].status].append(code)
    return {str(status): _problem(by_status[status]) for status in sorted(by_status)}


def _problem(codes: Sequence[str]) -> dict[str, Any]:
    code = {"properties": {"code": {"enum": list(codes)}}}
    schema = {"allOf": [_reference(ProblemView), code]}
    answer: dict[str, Any] = {
        "description": " · ".join(f"`{code}`" for code in codes),
        "content": {PROBLEM_MEDIA_TYPE: {"schema": schema}},
    }
    if any(KINDS[code].retry_after_seconds for code in codes):
        answer["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 0}}}
    if "rate_limited" in codes:
        text = {"schema": {"type": "string"}}
        answer["headers"] |= {"RateLimit-Policy": text, "RateLimit": text}
    return answer


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in names
    ]


def _query(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema: Mapping[str, Any] = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": False, "schema": _standard(each)}
        for name, each in schema["properties"].items()
    ]


def _headers(route: Route) -> list[dict[str, Any]]:
    named = ((route.required_header, True), (route.optional_header, False))
    key = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x20-\x7e]+$"}
    any_tag = {"type": "string"}  # one that is none of ours fits nothing, and is no fault
    return [
        {
            "name": name,
            "in": "header",
            "required": required,
            "schema": key if name == "Idempotency-Key" else any_tag,
        }
        for name, required in named
        if name is not None
    ]
