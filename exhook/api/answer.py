"""What the API answers: JSON alone, in the vendor's shape."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from exhook.api.refusal import Refusal
from exhook.logs import error_place, logger
from store.names import InvalidRecord
from store.seal import SealError
from store.unavailable import StoreUnavailable
from store.writing import OverQuota

RETRY_AFTER: Final = "x-acs-retry-after"
"""Milliseconds (tea-openapi sleeps as many)."""

_HOST_CHARS: Final = 255


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and body."""

    status: int
    body: bytes
    code: str = ""
    """Of a refusal; empty where all went well."""
    headers: Mapping[str, str] = field(default_factory=dict)


def success(request_id: str, body: Mapping[str, Any]) -> Answer:
    return Answer(200, _json({"RequestId": request_id, **body}))


def failure(request_id: str, host: str, refusal: Refusal) -> Answer:
    """The SDKs raise what has a status of 400 or more and a JSON object; anything else they misread."""
    body = {"RequestId": request_id, "HostId": host[:_HOST_CHARS], "Code": refusal.code, "Message": str(refusal)}
    headers = {} if refusal.retry_after_ms is None else {RETRY_AFTER: str(refusal.retry_after_ms)}
    return Answer(refusal.status, _json(body), refusal.code, headers)


def refusal_of(error: Exception, request_id: str) -> Refusal:
    """What a failure means to the caller. One that nobody foresaw is named in the log, not in the answer."""
    match error:
        case Refusal():
            return error
        case InvalidRecord():
            return Refusal.of_record(error)
        case OverQuota():
            return Refusal("Customauth.over.capacity", str(error))
        case StoreUnavailable() | SealError():
            logger.error("store unavailable", why=str(error), request_id=request_id)
            return Refusal.unavailable("the store is not available; ask again later")
        case _:
            logger.error("an API call failed", error=error_place(error), request_id=request_id)
            return Refusal("InternalError", "an internal error; the log of the server names it", status=500)


def _json(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
