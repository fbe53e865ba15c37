"""Signing V3, the SDKs' default: ACS3-HMAC-SHA256, everything in headers (vendor)."""

import hashlib
import hmac
import re
from typing import Final

from exhook.api.claim import Claim, checked_nonce, escaped, mismatch, signed_at
from exhook.api.refusal import Refusal
from exhook.api.request import Request

ALGORITHM: Final = b"ACS3-HMAC-SHA256"
FAMILY: Final = b"ACS3-"
_PREFIX: Final = b"x-acs-"
_HASH: Final = b"x-acs-content-sha256"
_AUTHORIZATION: Final = re.compile(
    rb"ACS3-HMAC-SHA256 Credential=([^,\s]{1,128}), ?SignedHeaders=([^,\s]{1,8192}), ?Signature=([0-9a-f]{64})"
)


def is_meant(request: Request) -> bool:
    """Whether the request is signed this way, rightly or not."""
    return request.header(b"authorization").startswith(FAMILY)


def read(request: Request, now_ms: int) -> Claim:
    """What the request claims.

    Raises:
        Refusal: another algorithm, a body that is not the one that was signed, a header that had to be signed and
            is not, a date that is malformed or far from now, no nonce.
    """
    authorization = request.header(b"authorization")
    if authorization.partition(b" ")[0] != ALGORITHM:
        raise Refusal("InvalidSignatureMethod", f"sign by {ALGORITHM.decode()}")
    found = _AUTHORIZATION.fullmatch(authorization)
    if not found:
        raise mismatch("the header Authorization cannot be read")
    credential, names, signature = found.groups()
    at_ms = signed_at(request.header(b"x-acs-date").decode("latin-1"), now_ms)
    nonce = checked_nonce(request.header(b"x-acs-signature-nonce").decode("latin-1"))
    body_hash = hashlib.sha256(request.body).hexdigest().encode()
    if not hmac.compare_digest(request.header(_HASH), body_hash):
        raise mismatch("x-acs-content-sha256 is not the hash of the body")
    to_sign = _string_to_sign(request, names, body_hash)
    return Claim(
        access_key_id=credential.decode("latin-1"),
        action=request.header(b"x-acs-action").decode("latin-1"),
        version=request.header(b"x-acs-version").decode("latin-1"),
        nonce=nonce,
        at_ms=at_ms,
        signature=signature,
        expected=lambda secret: hmac.digest(secret, to_sign, "sha256").hex().encode(),
    )


def _string_to_sign(request: Request, names: bytes, body_hash: bytes) -> bytes:
    signed = names.lower().split(b";")
    _check_signed(request, signed)
    # Decoded and encoded anew: the clients escape one query differently under one signature.
    query = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in sorted(request.query_pairs))
    canonical = [request.method.encode(), request.path.encode(), query.encode()]
    canonical += [b"".join(_line(request, name) for name in sorted(signed)), names, body_hash]
    return ALGORITHM + b"\n" + hashlib.sha256(b"\n".join(canonical)).hexdigest().encode()


def _check_signed(request: Request, signed: list[bytes]) -> None:
    """What decides must be signed, and stand there once: else a proxy, or whoever replays it, could change it."""
    must = {name for name in request.values if name.startswith(_PREFIX)} | {b"host"}
    if request.body:
        must.add(b"content-type")
    if missing := sorted(must.difference(signed)):
        raise mismatch(f"the header {missing[0].decode('latin-1')} is not among those that are signed")
    if len(set(signed)) != len(signed):
        raise mismatch("SignedHeaders names a header twice")
    for name in signed:
        if name not in request.values:
            raise mismatch("a header that was signed is missing")
        if name in must and len(request.values[name]) > 1:
            raise mismatch(f"the header {name.decode('latin-1')} stands there twice")


def _line(request: Request, name: bytes) -> bytes:
    return name + b":" + b",".join(sorted(value.strip() for value in request.values[name])) + b"\n"
