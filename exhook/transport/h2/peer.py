"""Who is at the other end, as gRPC writes it: ``ipv4:127.0.0.1:40000``, ``ipv6:[::1]:40000``, ``unix:``."""

import asyncio
import socket
from typing import Final

_OF_IPV4: Final = "::ffff:"
"""Begins the address of a peer that came by IPv4 to a socket of both."""


def peer_of(transport: asyncio.BaseTransport) -> str:
    """The address of a connection's peer."""
    connected = transport.get_extra_info("socket")
    name = transport.get_extra_info("peername")
    if connected is not None and connected.family == socket.AF_UNIX:
        return "unix:"
    if not isinstance(name, tuple):
        return "unknown"
    host, port = name[0].removeprefix(_OF_IPV4), name[1]
    return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"
