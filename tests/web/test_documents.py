"""The OpenAPI document, its viewer, and the vendored files it is shown with."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from flashsale.web.api.documents import STATIC, static_files
from flashsale.web.errors import KINDS
from flashsale.web.openapi import Auth, document
from flashsale.web.routes import PAGES, ROUTES
from tests.web.house import House

VENDOR = STATIC / "vendor"


async def test_the_document_is_served(house: House) -> None:
    reply = await house.call("GET", "/openapi.json")
    assert reply.headers["Content-Type"] == "application/json"
    served = reply.json
    assert served == json.loads(json.dumps(document(ROUTES)))
    assert served["openapi"] == "3.1.0"
    routed = {
        (route.method.lower(), route.resource.canonical)
        for route in house.app.router.routes()
        if route.method != "HEAD"
    }
    described = {(method, path) for path, item in served["paths"].items() for method in item}
    assert routed - described == {("get", path.replace(":.+", "")) for path, _ in PAGES}
    assert described <= routed


def test_every_reference_in_the_document_leads_somewhere() -> None:
    made = document(ROUTES)
    text = json.dumps(made)
    names = re.findall(r'"#/components/schemas/(\w+)"', text)
    assert set(names) == set(made["components"]["schemas"])
    operations = [each for item in made["paths"].values() for each in item.values()]
    assert len({each["operationId"] for each in operations}) == len(operations) == len(ROUTES)
    for each in operations:
        assert each["summary"], each["operationId"]
    for path, item in made["paths"].items():
        for each in item.values():
            placed = {p["name"] for p in each.get("parameters", []) if p["in"] == "path"}
            assert placed == set(re.findall(r"{(\w+)}", path))


async def test_the_headers_of_an_answer_are_those_described(house: House) -> None:
    """Whoever caches, retries or edits works with headers, not with bodies."""
    sale, paths = await house.sale(), document(ROUTES)["paths"]
    placed = await house.order(sale, "ann", key="k"), await house.order(sale, "ann", key="k")
    read = await house.call("GET", f"/v1/sales/{sale}")
    answers = {
        ("post", "/v1/sales/{sale}/orders"): {**placed[0].headers, **placed[1].headers},
        ("get", "/v1/sales/{sale}"): dict(read.headers),
        ("get", "/v1/sales"): dict((await house.call("GET", "/v1/sales")).headers),
        ("get", "/v1/merchant/sales/{sale}"): dict(
            (await house.manage("GET", f"/sales/{sale}")).headers
        ),
    }
    told = {"etag", "location", "idempotency-replayed"}
    for (method, path), headers in answers.items():
        responses = paths[path][method]["responses"]
        described = {name.lower() for name in next(iter(responses.values()))["headers"]}
        sent = {name.lower() for name in headers}
        assert sent & told == described & told, path
        assert described <= sent, path
    assert "304" in paths["/v1/sales"]["get"]["responses"]


def test_schemas_speak_json_schema_only() -> None:
    words = {"type", "title", "description", "properties", "required", "additionalProperties"}
    words |= {"items", "anyOf", "$ref", "enum", "const", "default", "format", "pattern", "examples"}
    words |= {"minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"}

    def check(schema: dict) -> None:
        assert set(schema) <= words, set(schema) - words
        if schema.get("default", ...) is None:
            assert {"type": "null"} in schema["anyOf"]
        inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
        for value in (schema.get("items"), schema.get("additionalProperties")):
            inner += [value] if isinstance(value, dict) else []
        for each in inner:
            check(each)

    schemas = document(ROUTES)["components"]["schemas"]
    for schema in schemas.values():
        check(schema)
    quantity = schemas["OrderForm"]["properties"]["quantity"]
    assert (quantity["minimum"], quantity["maximum"]) == (1, 1_000_000_000)


def test_every_refusal_is_announced_somewhere() -> None:
    announced = {code for route in ROUTES for code in route.codes()}
    house_rules = {"not_found", "method_not_allowed", "bad_request", "header_too_large"}
    house_rules |= {"expectation_failed", "internal"}
    later = {"rate_limited", "reservation_lost"}  # answered by capabilities still to come
    assert announced | house_rules | later == set(KINDS)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_who_may_call_is_checked_before_anything_else(house: House, route) -> None:
    path = re.sub(r"{\w+}", "x", route.path)
    reply = await house.call(route.method, path)
    assert (reply.status == 401) == (route.auth is not Auth.NONE)
    assert ("security" in document([route])["paths"][route.path][route.method.lower()]) == (
        route.auth is not Auth.NONE
    )
    wrong = house.merchant.api_key if route.auth is Auth.BUYER else house.token("b")
    reply = await house.call(route.method, path, bearer=wrong)
    assert (reply.status == 401) == (route.auth is not Auth.NONE)


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
async def test_other_methods_are_not_allowed(house: House, path: str) -> None:
    known = {route.method for route in ROUTES if route.path == path}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"} - known:
        reply = await house.call(method, re.sub(r"{\w+}", "x", path))
        assert (reply.status, reply.code) == (405, "method_not_allowed")
        assert known <= set(reply.headers["Allow"].split(","))


async def test_the_viewer_asks_nobody_else(house: House) -> None:
    page = await house.call("GET", "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    policy = page.headers["Content-Security-Policy"]
    assert "script-src 'self';" in policy
    assert "http" not in policy
    asked = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(asked) == 4
    assert not re.findall(r'(?:src|href)="(?!/|data:)', page.text)
    for path in asked:
        reply = await house.call("GET", path)
        assert (reply.status, reply.headers["X-Content-Type-Options"]) == (200, "nosniff")


async def test_every_problem_type_is_explained(house: House) -> None:
    problem = (await house.call("GET", "/v1/nowhere")).json
    assert problem["type"] == "/docs/problems#not_found"
    page = await house.call("GET", "/docs/problems")
    assert set(re.findall(r'id="(\w+)"', page.text)) == set(KINDS)


@pytest.mark.parametrize(
    "path", ["../app.py", "%2e%2e/app.py", "..%2fapp.py", "vendor", "vendor/VENDOR.json", "%00"]
)
async def test_only_listed_files_are_served(house: House, path: str) -> None:
    reply = await house.call("GET", f"/static/{path}")
    assert reply.status == 404


def test_vendored_files_are_the_ones_listed() -> None:
    listed: dict[str, str] = {}
    for package in json.loads((VENDOR / "VENDOR.json").read_text()).values():
        assert package["version"]
        assert package["license"]
        listed |= package["files"]
    present = {
        str(path.relative_to(VENDOR)): path.read_bytes()
        for path in VENDOR.rglob("*")
        if path.is_file() and path.name != "VENDOR.json"
    }
    digests = {
        name: "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
        for name, content in present.items()
    }
    assert digests == listed
    assert "docs.js" in static_files()
