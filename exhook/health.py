"""The gRPC health service: serving only while the store answers."""

from collections.abc import Callable
from typing import Final

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from exhook.hooks import VERSIONS
from exhook.transport.call import Call, Refusal, Status

CHECK: Final = "/grpc.health.v1.Health/Check"

_NAMES: Final = frozenset({"", *(f"{version.package}.HookProvider" for version in VERSIONS)})


class Health:
    """Answers `Check` of the gRPC health protocol; `Watch` is no unary call and is left unimplemented."""

    def __init__(self, healthy: Callable[[], bool]) -> None:
        self._healthy = healthy

    @property
    def paths(self) -> frozenset[str]:
        return frozenset({CHECK})

    def answer(self, call: Call) -> bytes:
        """Whether the server, or one of its services, serves.

        Raises:
            Refusal: the request is no health check (INVALID_ARGUMENT), or names a service that is not here.
        """
        try:
            request = health_pb2.HealthCheckRequest.FromString(call.body)
        except DecodeError:
            raise Refusal(Status.INVALID_ARGUMENT, "the message is no HealthCheckRequest") from None
        if request.service not in _NAMES:
            raise Refusal(Status.NOT_FOUND, "there is no such service here")
        states = health_pb2.HealthCheckResponse
        state = states.SERVING if self._healthy() else states.NOT_SERVING
        answer: bytes = states(status=state).SerializeToString()
        return answer
