"""Why a call is refused, as the vendor's SDKs read it: an HTTP status, a code, a sentence."""

from typing import Final, Self

from store.names import InvalidRecord

PARAMETER_OF: Final = {
    "instance": "InstanceId",
    "username": "Username",
    "client_id": "ClientId",
    "client_ids": "ClientId",
    "identity": "Identity",
    "topic": "Topic",
    "group": "GroupId",
    "secrets": "Secret",
    "resources": "Resources",
    "actions": "Actions",
    "expires_at": "ExpireTime",
}
"""Fields of our records, and the parameters that they come from."""


class Refusal(Exception):
    """A call that is refused. The message goes to the caller: it holds no secret and nothing of another instance."""

    def __init__(self, code: str, message: str, *, status: int = 400, retry_after_ms: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retry_after_ms = retry_after_ms

    @classmethod
    def invalid(cls, parameter: str, message: str) -> Self:
        """A parameter that is missing or cannot be as it is."""
        return cls(f"InvalidParameter.{parameter}", message)

    @classmethod
    def of_record(cls, error: InvalidRecord) -> Self:
        """A record that cannot be made of the parameters."""
        return cls.invalid(PARAMETER_OF.get(error.field, error.field), str(error))

    @classmethod
    def unavailable(cls, message: str) -> Self:
        """Nothing is wrong with the call, but it cannot be carried out now."""
        return cls("ServiceUnavailable", message, status=503)
