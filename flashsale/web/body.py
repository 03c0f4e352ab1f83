"""Request bodies, read strictly: first line of defence of every POST. Never trusts a length.

What is not plain JSON in UTF-8, small and unambiguous, is refused before a model sees it.
"""

import asyncio
import json
import zlib
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

import orjson
from aiohttp.web import BaseRequest, RequestPayloadError
from pydantic import BaseModel

from flashsale.domain.stock import SUPPLY_MAX
from flashsale.sales.errors import ValidationFailedError
from flashsale.sales.forms import SKU_MAX_CHARACTERS, parse_form
from flashsale.web.connection import Connection
from flashsale.web.errors import Problem, ProblemError, invalid, problem_of_sale, refuse
from flashsale.web.schemas import OrderForm

BODY_MAX_BYTES = 16_384
DEPTH_MAX = 32

_MALFORMED = Problem("body_malformed")
_GZIP_WINDOW = 31  # zlib's way of asking for gzip's framing and its checksum
_Model = TypeVar("_Model", bound=BaseModel)


class OrderBody(NamedTuple):
    """What a buyer asks for; the two last are None where they were not sent."""

    sku: str
    quantity: int
    admission_token: str | None = None
    priority_code: str | None = None


async def read_body(request: BaseRequest) -> bytes:
    """The body, unpacked, at most 16 KiB.

    ProblemError: `unsupported_media_type`, `body_too_large`, `body_malformed` (bad gzip),
    `request_timeout` (not whole in time; the connection then ends).
    """
    content_type = request.headers.get("Content-Type", "")
    if content_type != "application/json" and not _is_json(request):
        raise refuse("unsupported_media_type")
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise refuse("body_too_large")
    content = request.content
    # A body that came with its head needs no timer and no waiting.
    raw = content.read_nowait() if content.is_eof() and not content.at_eof() else b""
    if not content.at_eof():
        raw = await _read_slowly(request)
    if len(raw) > BODY_MAX_BYTES:
        raise refuse("body_too_large")
    encoding = request.headers.get("Content-Encoding")
    return raw if encoding is None else _unpack(raw, encoding)


async def read_bytes(request: BaseRequest, bytes_max: int) -> bytes:
    """A body of any type, byte for byte as it was sent, at most `bytes_max`.

    ProblemError: `unsupported_media_type` (packed), `body_too_large`, `request_timeout`.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise refuse("unsupported_media_type", "Send the body plain, not packed.")
    if (request.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    return await _read_slowly(request, bytes_max)


def _too_large(bytes_max: int) -> ProblemError:
    detail = "" if bytes_max == BODY_MAX_BYTES else f"A body has at most {bytes_max} bytes here."
    return refuse("body_too_large", detail)


async def _read_slowly(request: BaseRequest, bytes_max: int = BODY_MAX_BYTES) -> bytes:
    chunks = bytearray()
    protocol = request.protocol
    seconds = protocol.request_seconds_max if isinstance(protocol, Connection) else None
    try:
        async with asyncio.timeout(seconds):
            while chunk := await request.content.read(bytes_max + 1 - len(chunks)):
                chunks += chunk
                if len(chunks) > bytes_max:
                    raise _too_large(bytes_max)
    except TimeoutError:
        raise ProblemError(Problem("request_timeout", headers={"Connection": "close"})) from None
    except (RequestPayloadError, ConnectionError):
        # Whoever hung up in the middle hears nothing; it is their connection, and no store of ours.
        raise refuse("body_malformed") from None
    return bytes(chunks)


def _is_json(request: BaseRequest) -> bool:
    charset = request.charset
    return request.content_type == "application/json" and (
        charset is None or charset.lower().replace("-", "") == "utf8"
    )


def _unpack(raw: bytes, encoding: str) -> bytes:
    match encoding.strip().lower():
        case "identity":
            return raw
        case "gzip":
            return inflate(raw)
        case _:
            raise refuse("unsupported_media_type", "Send the body plain or with gzip.")


def inflate(raw: bytes) -> bytes:
    """Unpack gzip without ever holding more than the limit; ProblemError like `read_body`."""
    inflater = zlib.decompressobj(_GZIP_WINDOW)
    try:
        body = inflater.decompress(raw, BODY_MAX_BYTES + 1)
    except zlib.error:
        raise refuse("body_malformed") from None
    if len(body) > BODY_MAX_BYTES:
        raise refuse("body_too_large")
    if not inflater.eof or inflater.unused_data:
        raise refuse("body_malformed")
    return body


def parse_json(raw: bytes) -> Any:
    """The value of a body; ProblemError `body_malformed` where two readers could disagree."""
    try:
        # orjson refuses bad UTF-8, lone surrogates, NaN and infinities.
        value = orjson.loads(raw)
        json.loads(raw.decode(), object_pairs_hook=_refuse_repeated_names)
    except (ValueError, RecursionError):
        raise ProblemError(_MALFORMED) from None
    if not is_sane(value, DEPTH_MAX):
        raise ProblemError(_MALFORMED)
    return value


def _refuse_repeated_names(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")


def is_sane(value: Any, depth: int) -> bool:
    """Whether no text holds a NUL, which Postgres cannot store, and nesting ends in time."""
    if isinstance(value, str):
        return "\0" not in value
    if not isinstance(value, dict | list):
        return True
    if depth == 0:
        return False
    inner: Iterable[Any] = value
    if isinstance(value, dict):
        if any("\0" in name for name in value):
            return False
        inner = value.values()
    return all(is_sane(each, depth - 1) for each in inner)


async def read_model(request: BaseRequest, model: type[_Model]) -> _Model:
    """The body as a model; ProblemError as `read_body`, `parse_json` and `validation_failed`."""
    return validated(model, parse_json(await read_body(request)))


def validated(model: type[_Model], value: Any) -> _Model:
    """A value as a model; ProblemError `validation_failed` with a pointer for each field."""
    if not isinstance(value, dict):
        raise invalid("", "This should be a JSON object.")
    try:
        return parse_form(model, value)
    except ValidationFailedError as error:
        raise ProblemError(problem_of_sale(error)) from None


def parse_order_body(raw: bytes) -> OrderBody | Problem:
    """The body of an order, or why it is refused; the plain shape costs under 2 microseconds."""
    try:
        value = orjson.loads(raw)
    except ValueError:
        return _MALFORMED
    # Two fields of these types and two colons: nothing is repeated, nested or unknown.
    if type(value) is dict and len(value) == 2 and raw.count(b":") == 2:
        sku, quantity = value.get("sku"), value.get("quantity")
        if (
            type(sku) is str
            and type(quantity) is int
            and 0 < quantity <= SUPPLY_MAX
            and 0 < len(sku) <= SKU_MAX_CHARACTERS
            and sku.isprintable()
            and sku.strip() == sku
        ):
            return OrderBody(sku, quantity)
    try:
        form = validated(OrderForm, parse_json(raw))
    except ProblemError as error:
        return error.problem
    return OrderBody(form.sku, form.quantity, form.admission_token, form.priority_code)
