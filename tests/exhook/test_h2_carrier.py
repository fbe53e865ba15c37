"""The carrier h2 on real sockets: TLS, paths, drain, limits that only a socket shows."""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates_under_test import DAY, Authority, Pair, Resuming, one_day_passes
from grpc import aio
from server_under_test import becomes
from test_acceptor import no_more_descriptors
from test_hostile import raw

from exhook.transport import certificates as certificates_module
from exhook.transport.call import Call
from exhook.transport.certificates import Certificates, Files
from exhook.transport.h2.acceptor import Intake
from exhook.transport.h2.carrier import H2Carrier
from exhook.transport.h2.frames import PREFACE, SETTINGS, frame
from exhook.transport.limits import Breach, Limits, Notices

PATH = "/test.Service/Method"
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]


class Echo:
    paths = frozenset({PATH})

    def answer(self, call: Call) -> bytes | Awaitable[bytes]:
        return self._later(call.body) if call.body.startswith(b"slow") else call.peer.encode()

    async def _later(self, body: bytes) -> bytes:
        await asyncio.sleep(float(body[4:] or 0))
        return body


class Carried:
    """A carrier under test."""

    def __init__(self, carrier: H2Carrier, port: int) -> None:
        self.carrier = carrier
        self.port = port
        self.breaches: Counter[Breach] = Counter()
        self.strangers: list[str] = []
        self.open = 0

    async def ask(self, channel: aio.Channel, body: bytes = b"", seconds: float = 5.0) -> bytes:
        answer: bytes = await channel.unary_unary(PATH, None, None)(body, timeout=seconds)
        return answer


@asynccontextmanager
async def carried(*more: str, certificates: Certificates | None = None, **limits: Any) -> AsyncIterator[Carried]:
    said: list[Carried] = []
    breaches: Counter[Breach] = Counter()
    strangers: list[str] = []
    notices = Notices(
        breach=lambda breach: breaches.update([breach]),
        connections=lambda count: setattr(said[0], "open", count),
        stranger=strangers.append,
    )
    carrier = H2Carrier(Echo(), ("127.0.0.1:0", *more), Limits(**limits), notices=notices, certificates=certificates)
    said.append(Carried(carrier, await carrier.start()))
    said[0].breaches, said[0].strangers = breaches, strangers
    yield said[0]
    await carrier.stop(0.2)


def plain(target: str | int) -> aio.Channel:
    return aio.insecure_channel(f"127.0.0.1:{target}" if isinstance(target, int) else target, options=OPTIONS)


def secure(port: int, authority: Authority, shown: Pair | None = None) -> aio.Channel:
    key, chain = shown.pem if shown else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, chain)
    return aio.secure_channel(f"127.0.0.1:{port}", credentials, options=OPTIONS)


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    @staticmethod
    def served(pair: Pair, *names: str, ca: Path | None = None) -> Certificates:
        return Certificates(Files(pair.certificate, pair.key, ca), names=frozenset(names))

    async def test_calls_are_encrypted(self, authority: Authority) -> None:
        async with carried(certificates=self.served(authority.sign("server"))) as one:
            async with secure(one.port, authority) as channel:
                assert (await one.ask(channel)).startswith(b"ipv4:127.0.0.1:")
                assert await one.ask(channel, b"slow0.01") == b"slow0.01"
            async with plain(one.port) as channel:
                with pytest.raises(aio.AioRpcError):
                    await one.ask(channel, seconds=1.0)
            await becomes(lambda: one.breaches[Breach.TLS] >= 1)

    async def test_clients_prove_who_they_are(self, authority: Authority, tmp_path: Path) -> None:
        stranger = Authority(tmp_path, "stranger").sign("broker-1")
        served = self.served(authority.sign("server"), "broker-1", "broker-2", ca=authority.certificate)
        async with carried(certificates=served) as one:
            for shown, let_in in (
                (authority.sign("broker-1"), True),
                (authority.sign("broker-2"), True),
                (authority.sign("broker-3"), False),
                (stranger, False),
                (None, False),
            ):
                before = one.breaches[Breach.TLS]
                async with secure(one.port, authority, shown) as channel:
                    if let_in:
                        assert await one.ask(channel)
                    else:
                        with pytest.raises(aio.AioRpcError):
                            await one.ask(channel, seconds=1.0)
                        await becomes(lambda before=before: one.breaches[Breach.TLS] > before)  # type: ignore[misc]

    async def test_all_that_the_authority_signed_are_let_in_where_no_names_are_given(
        self, authority: Authority
    ) -> None:
        served = self.served(authority.sign("server"), ca=authority.certificate)
        async with carried(certificates=served) as one, secure(one.port, authority, authority.sign("any")) as channel:
            assert await one.ask(channel)

    async def test_another_protocol_is_shut_out(self, authority: Authority) -> None:
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.set_alpn_protocols(["http/1.1"])
        async with carried(certificates=self.served(authority.sign("server"))) as one:
            with suppress(OSError):  # as is ssl.SSLError; how it is shut out depends on the client's library
                reader, _ = await asyncio.open_connection(
                    "127.0.0.1", one.port, ssl=context, server_hostname="localhost"
                )
                while await reader.read(1000):
                    pass
            await becomes(lambda: one.breaches[Breach.TLS] == 1)

    async def test_new_certificates_need_no_restart(
        self, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(certificates_module, "_LOOK_SECONDS", 0.0)
        pair = authority.sign("server")
        renewed = Authority(tmp_path, "renewed")
        served = self.served(pair)
        async with carried(certificates=served) as one:
            async with secure(one.port, authority) as old:
                assert await one.ask(old)
                pair.certificate.write_bytes(b"half a file")
                async with secure(one.port, authority) as channel:
                    assert await one.ask(channel)
                assert served.broken == "no PEM, or a key with a passphrase"
                other = renewed.sign("server", "server-2")
                other.key.replace(pair.key)
                other.certificate.replace(pair.certificate)
                async with secure(one.port, renewed) as channel:
                    assert await one.ask(channel)
                assert served.broken == ""
                assert await one.ask(old)  # the connection stands
            async with secure(one.port, authority) as channel:
                with pytest.raises(aio.AioRpcError):
                    await one.ask(channel, seconds=1.0)

    async def test_names_that_are_taken_out_end_their_connections(self, authority: Authority) -> None:
        served = self.served(authority.sign("server"), "broker-1", "broker-2", ca=authority.certificate)
        async with (
            carried(certificates=served) as one,
            secure(one.port, authority, authority.sign("broker-1")) as first,
            secure(one.port, authority, authority.sign("broker-2")) as second,
        ):
            assert await one.ask(first)
            assert await one.ask(second)
            one.carrier.admit(frozenset({"broker-2"}))
            await becomes(lambda: one.open == 1)
            assert await one.ask(second)
            with pytest.raises(aio.AioRpcError):
                await one.ask(first, seconds=1.0)
            assert one.strangers[0] == "no name that is let in: broker-1, localhost"

    async def test_an_expired_certificate_is_refused_and_said_so(self, authority: Authority) -> None:
        served = self.served(authority.sign("server"), ca=authority.certificate)
        async with carried(certificates=served) as one:
            async with secure(one.port, authority, authority.sign("broker-1", until=-DAY / 2)) as channel:
                with pytest.raises(aio.AioRpcError):
                    await one.ask(channel, seconds=1.0)
            await becomes(lambda: "certificate of the peer: certificate has expired" in one.strangers)

    async def test_a_session_is_not_resumed_where_clients_show_certificates(self, authority: Authority) -> None:
        """Else one whose certificate has expired could go on for as long as the session lives."""
        shown = authority.sign("broker-1")
        served = self.served(authority.sign("server"), ca=authority.certificate)
        context = ssl.create_default_context(cafile=str(authority.certificate))
        context.load_cert_chain(shown.certificate, shown.key)
        context.set_alpn_protocols(["h2"])
        async with carried(certificates=served) as one:

            def connect() -> bool:
                with (
                    socket.create_connection(("127.0.0.1", one.port)) as plain_socket,
                    context.wrap_socket(plain_socket, server_hostname="localhost") as tls,
                ):
                    tls.recv(1)
                    return tls.session is not None and tls.session.has_ticket

            assert not await asyncio.to_thread(connect)

    async def test_nor_is_one_by_its_id_once_the_certificate_has_expired(
        self, authority: Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        served = self.served(authority.sign("server"), ca=authority.certificate)
        async with carried(certificates=served) as one:
            broker = Resuming(one.port, authority, authority.sign("broker-1"), "h2")
            for _ in range(2):
                await asyncio.to_thread(broker.comes)
            assert one.breaches[Breach.TLS] == 0
            one_day_passes(monkeypatch)
            await asyncio.to_thread(broker.comes)
            await becomes(lambda: one.breaches[Breach.TLS] == 1)
            assert one.strangers == ["certificate of the peer: certificate has expired"]
            await becomes(lambda: one.open == 0)

    def test_files_that_cannot_be_read_are_told_at_once(self, authority: Authority) -> None:
        pair = authority.sign("server")
        with pytest.raises(OSError, match=r"No such file|PEM"):
            self.served(Pair(pair.certificate, pair.key.with_name("none")))
        pair.key.write_bytes(b"none")
        with pytest.raises(ssl.SSLError):
            self.served(pair)

    async def test_who_does_not_shake_hands_is_let_go(self, authority: Authority) -> None:
        async with carried(certificates=self.served(authority.sign("server")), greeting_seconds=0.2) as one:
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            assert await reader.read() == b""
            await becomes(lambda: one.breaches[Breach.TLS] == 1)
            writer.close()


class TestAddresses:
    @pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
    async def test_all_addresses_of_ipv6_are_all_addresses(self) -> None:
        carrier = H2Carrier(Echo(), ("[::]:0",), Limits())
        one = Carried(carrier, await carrier.start())
        try:
            async with plain(one.port) as four, plain(f"[::1]:{one.port}") as six:
                assert (await one.ask(four)).startswith(b"ipv4:127.0.0.1:")
                assert (await one.ask(six)).startswith(b"ipv6:[::1]:")
        finally:
            await carrier.stop(0.2)


class TestPaths:
    async def test_a_path_is_listened_at_as_well_without_tls(self, tmp_path: Path) -> None:
        path = tmp_path / "exhook.sock"
        authority = Authority(tmp_path)
        served = TestTls.served(authority.sign("server"))
        async with carried(f"unix:{path}", certificates=served) as one:
            assert path.stat().st_mode & 0o777 == 0o660
            async with plain(f"unix:{path}") as channel, secure(one.port, authority) as other:
                assert await one.ask(channel) == b"unix:"
                assert (await one.ask(other)).startswith(b"ipv4:")
        assert not path.exists()

    async def test_what_a_killed_server_left_is_taken_away_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "exhook.sock"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        async with carried(f"unix:{path}") as one:
            async with plain(f"unix:{path}") as channel:
                assert await one.ask(channel)
            with pytest.raises(OSError, match=r"exhook\.sock: cannot listen there"):
                await H2Carrier(Echo(), (f"unix:{path}",), Limits()).start()
            async with plain(f"unix:{path}") as channel:
                assert await one.ask(channel)
        path.write_text("no socket")
        with pytest.raises(OSError, match="no socket"):
            await H2Carrier(Echo(), (f"unix:{path}",), Limits()).start()
        assert path.read_text() == "no socket"


class TestStopping:
    async def test_calls_under_way_end_and_new_ones_go_elsewhere(self) -> None:
        async with carried() as one, plain(one.port) as channel:
            assert await one.ask(channel)
            slow = asyncio.ensure_future(one.ask(channel, b"slow0.3"))
            await asyncio.sleep(0.1)
            stopping = asyncio.ensure_future(one.carrier.stop(5.0))
            assert await slow == b"slow0.3"
            await stopping
            with pytest.raises(aio.AioRpcError):
                await one.ask(channel)
            assert not one.breaches

    async def test_grace_has_an_end(self) -> None:
        async with carried() as one, plain(one.port) as channel:
            slow = asyncio.ensure_future(one.ask(channel, b"slow60", seconds=60.0))
            await asyncio.sleep(0.1)
            await asyncio.wait_for(one.carrier.stop(0.1), 5.0)
            with pytest.raises(aio.AioRpcError):
                await slow

    async def test_idle_peers_and_such_that_say_nothing_hold_up_nobody(self) -> None:
        async with carried() as one, plain(one.port) as channel, raw(one.port):
            assert await one.ask(channel)
            _, writer = await asyncio.open_connection("127.0.0.1", one.port)
            await becomes(lambda: one.open == 3)
            await asyncio.wait_for(one.carrier.stop(0.2), 5.0)
            assert one.open == 0
            writer.close()


class TestLimits:
    async def test_so_many_connections_and_no_more(self) -> None:
        async with carried(connections=2) as one, plain(one.port) as channel:
            assert await one.ask(channel)
            _, second = await asyncio.open_connection("127.0.0.1", one.port)
            await becomes(lambda: one.open == 2)
            reader, third = await asyncio.open_connection("127.0.0.1", one.port)
            assert await reader.read() == b""
            assert one.breaches == {Breach.CONNECTIONS: 1}
            second.close()
            await becomes(lambda: one.open == 1)
            async with plain(one.port) as fourth:
                assert await one.ask(fourth)
            third.close()

    async def test_who_takes_no_answers_is_let_go(self) -> None:
        """PINGs without end, of which no answer is read: reading stops, and the rest of the server goes on."""
        async with carried(stalled_seconds=0.3, frames=10**9) as one, plain(one.port) as other:
            with socket.socket() as greedy:
                greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                greedy.connect(("127.0.0.1", one.port))
                greedy.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(greedy, PREFACE + frame(SETTINGS, 0, 0))

                async def flood() -> None:
                    while True:
                        await loop.sock_sendall(greedy, frame(6, 0, 0, bytes(8)) * 5000)

                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(flood(), 30.0)
            assert one.breaches[Breach.STALLED] == 1
            assert await one.ask(other)

    async def test_a_carrier_that_is_handed_sockets_says_when_they_close(self) -> None:
        ours, theirs = socket.socketpair()
        carrier = H2Carrier(Echo(), (), Limits(), intake=Intake(theirs))
        assert await carrier.start() == 0
        with socket.create_server(("127.0.0.1", 0)) as listening, ours:
            channel = plain(listening.getsockname()[1])
            asked = asyncio.ensure_future(channel.unary_unary(PATH, None, None)(b"slow", timeout=5.0))
            connected, _ = await asyncio.to_thread(listening.accept)
            with connected:
                socket.send_fds(ours, [b"+"], [connected.fileno()])
            assert await asked == b"slow"
            await channel.close(None)
            ours.settimeout(5.0)
            assert await asyncio.to_thread(ours.recv, 10) == b"-"
            await carrier.stop(0.1)
            assert await asyncio.to_thread(ours.recv, 10) == b""

    async def test_a_socket_that_there_is_no_descriptor_for_is_a_connection_too_many(self) -> None:
        ours, theirs = socket.socketpair()
        breaches: list[Breach] = []
        carrier = H2Carrier(Echo(), (), Limits(), notices=Notices(breach=breaches.append), intake=Intake(theirs))
        await carrier.start()
        with ours:
            with no_more_descriptors():
                socket.send_fds(ours, [b"+"], [ours.fileno()])
                await becomes(lambda: breaches == [Breach.CONNECTIONS])
            assert ours.recv(10) == b"-"
            await carrier.stop(0.0)
