"""Several services behind one carrier."""

from collections.abc import Awaitable

from exhook.transport.call import Call, Service


class Services:
    """Gives each call to the service that has its path."""

    def __init__(self, *services: Service) -> None:
        self._by_path = {path: service for service in services for path in service.paths}

    @property
    def paths(self) -> frozenset[str]:
        return frozenset(self._by_path)

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        return self._by_path[call.path].answer(call)
