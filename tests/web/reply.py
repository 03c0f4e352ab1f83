"""An answer over HTTP, held to the OpenAPI document whenever a test sees one."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from flashsale.web.routes import ROUTES
from flashsale.web.schemas import ProblemView


class Reply(NamedTuple):
    """An answer, its body read."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        assert self.headers["Content-Type"] == "application/problem+json", self.text
        problem = self.json
        assert set(problem) >= {"type", "title", "status", "code", "detail"}
        assert problem["status"] == self.status
        return problem["code"]

    @property
    def pointers(self) -> list[str]:
        return [error["pointer"] for error in self.json["errors"]]


def hold_to_document(method: str, path: str, reply: Reply) -> None:
    """Every answer that any test sees must be one that the OpenAPI document announces."""
    bare = path.partition("?")[0]
    called = [each for each in ROUTES if each.method == method]
    route = next((each for each in called if re.fullmatch(_pattern(each.path), bare)), None)
    if route is None:
        return
    if reply.headers.get("Content-Type") == "application/problem+json":
        assert reply.code in {*route.codes(), "internal"}, f"{reply.code} is not announced"
        ProblemView.model_validate_json(reply.text, extra="allow")
    elif reply.status != 304:
        models = {route.status: route.answer, **route.others}
        assert reply.status in models
        model = models[reply.status]
        if model is not None:
            model.model_validate_json(reply.text, extra="forbid")


@functools.cache
def _pattern(path: str) -> str:
    return re.sub(r"\{\w+\}", "[^/]+", path)
