"""Signing RPC 1.0: HMAC-SHA1 over all parameters, which hold the signature, too (vendor; the older SDKs)."""

import base64
import hmac
from typing import Final

from exhook.api.claim import Claim, checked_nonce, escaped, mismatch, signed_at
from exhook.api.parameters import Parameters
from exhook.api.refusal import Refusal
from exhook.api.request import Request

METHOD: Final = "HMAC-SHA1"
VERSION: Final = "1.0"
SIGNATURE: Final = "Signature"


def is_meant(parameters: Parameters) -> bool:
    """Whether the request is signed this way, rightly or not."""
    return any(parameters.has(name) for name in (SIGNATURE, "SignatureMethod", "AccessKeyId"))


def read(request: Request, parameters: Parameters, now_ms: int) -> Claim:
    """What the request claims.

    Raises:
        Refusal: another way of signing, a date that is malformed or far from now, no nonce, no signature.
    """
    way = (parameters.optional("SignatureMethod"), parameters.optional("SignatureVersion"))
    if way != (METHOD, VERSION) or parameters.optional("SignatureType"):
        raise Refusal("InvalidSignatureMethod", f"sign by {METHOD}, version {VERSION}, with an access key")
    at_ms = signed_at(parameters.optional("Timestamp"), now_ms)
    signature = parameters.optional(SIGNATURE)
    if not signature:
        raise mismatch("the parameter Signature is missing")
    pairs = sorted((name, value) for name, value in parameters if name != SIGNATURE)
    canonical = "&".join(f"{escaped(name)}={escaped(value)}" for name, value in pairs)
    to_sign = f"{request.method}&%2F&{escaped(canonical)}".encode()
    return Claim(
        access_key_id=parameters.optional("AccessKeyId"),
        action=parameters.optional("Action"),
        version=parameters.optional("Version"),
        nonce=checked_nonce(parameters.optional("SignatureNonce")),
        at_ms=at_ms,
        signature=signature.encode(),
        expected=lambda secret: base64.b64encode(hmac.digest(secret + b"&", to_sign, "sha1")),
    )
