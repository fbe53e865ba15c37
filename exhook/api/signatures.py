"""Whose call a request is: both ways of signing, one answer. Pure."""

import secrets
from collections.abc import Callable, Sequence
from typing import Final

from exhook.api import acs3, rpc1
from exhook.api.claim import Claim, mismatch
from exhook.api.parameters import Parameters
from exhook.api.refusal import Refusal
from exhook.api.request import Request

_NOBODY: Final = (secrets.token_bytes(32),)
"""What stands in for the secrets of a key that is not there, so that the same work is done."""


Find = Callable[[str], "tuple[Sequence[bytes], bool] | None"]
"""Secrets of an access key id, and whether it is active; None where there is no such key."""


def verify(request: Request, parameters: Parameters, find: Find, now_ms: int) -> Claim:
    """What the request claims, proven.

    Raises:
        Refusal: not signed, signed otherwise, by a key that is unknown or switched off, or wrongly.
    """
    if acs3.is_meant(request):
        claim = acs3.read(request, now_ms)
    elif rpc1.is_meant(parameters):
        claim = rpc1.read(request, parameters, now_ms)
    else:
        raise Refusal("InvalidSignatureMethod", "the call is not signed; sign by ACS3-HMAC-SHA256 or by HMAC-SHA1")
    found = find(claim.access_key_id)
    known, active = found or (_NOBODY, False)
    # Every secret is tried, so that time does not tell which one matched.
    proven = [claim.proven_by(secret) for secret in known or _NOBODY]
    if found is None:
        raise Refusal("InvalidAccessKeyId.NotFound", "there is no such access key", status=404)
    if not any(proven):
        raise mismatch("it is not what the access key's secret gives for this request")
    if not active:
        raise Refusal("InvalidAccessKeyId.Inactive", "the access key is switched off, or its time ran out")
    return claim
