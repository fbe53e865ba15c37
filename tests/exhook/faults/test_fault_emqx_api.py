"""EMQX's management API is down for ten minutes, or shows a certificate that has expired."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from certificates_under_test import DAY, Authority
from emqx_api_under_test import SECRET, EmqxApiUnderTest, Session
from enforcer_under_test import enforcing, make_haste, rows, settled
from server_under_test import becomes
from worker_under_test import Store, identity, permission

from exhook import metrics
from exhook.brokers.pace import LONGEST_SECONDS, BackOff
from exhook.enforcer import enforcer as enforcer_module
from store.clock import now_ms
from store.revocations import State

TEN_MINUTES = 600.0
FASTER = 2_000
"""So many of the pauses' seconds pass in one of the test's."""


@pytest.fixture
def known(store: Store) -> Store:
    store.put(*(identity(name, b"right") for name in ("alice", "bob", "carol")), permission("carol", "a/#"))
    return store


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        made.join(*(Session(f"{name}-1", name, {"a/1"}) for name in ("alice", "bob", "carol")))
        yield made


class Passing(BackOff):
    """Pauses as long as they are, in a time that passes faster."""

    passed: float = 0.0
    pauses: list[float]

    def failed(self, wanted: float | None = None) -> float:
        pause = super().failed(wanted)
        Passing.passed += pause
        Passing.pauses.append(pause)
        return pause / FASTER


def clock() -> int:
    return now_ms() + int(Passing.passed * 1000)


async def test_the_api_is_down_for_ten_minutes(
    known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_haste(monkeypatch)
    monkeypatch.setattr(enforcer_module, "BackOff", Passing)
    Passing.passed, Passing.pauses = 0.0, []
    with structlog.testing.capture_logs() as lines:
        async with enforcing(known, broker, clock=clock):
            await becomes(lambda: settled(known))
            broker.down()
            known.remove(identity("alice", b"right"))
            await becomes(lambda: Passing.passed > TEN_MINUTES / 2)
            known.remove(identity("bob", b"right"))
            await becomes(lambda: Passing.passed > TEN_MINUTES)
            assert metrics.API_UP.labels("under-test")._value.get() == 0
            await becomes(lambda: metrics.WAITING.labels("under-test")._value.get() == 2)
            assert {one.state for one in rows(known) if one.subject.name} == {State.WAITING}
            tried, before = len(Passing.pauses), Passing.passed
            broker.up()
            await becomes(lambda: settled(known))
            assert Passing.passed - before <= 2 * LONGEST_SECONDS  # one pause that was under way, in either lane
            assert metrics.API_UP.labels("under-test")._value.get() == 1
            await becomes(lambda: metrics.WAITING.labels("under-test")._value.get() == 0)
    assert sorted(broker.disconnected) == ["alice-1", "bob-1"]
    assert set(broker.sessions) == {"carol-1"}
    # Knocked at seldom, told of once.
    assert tried < 2 * TEN_MINUTES / LONGEST_SECONDS
    said = [line["event"] for line in lines if line["event"].startswith("revocations")]
    assert said == ["revocations wait", "revocations go on"]


async def test_its_certificate_has_expired(
    known: Store, broker: EmqxApiUnderTest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_haste(monkeypatch)
    authority = Authority(tmp_path)
    good, expired = authority.sign("localhost"), authority.sign("localhost", "old", until=-DAY / 2)
    cluster = {"ca_file": authority.certificate}

    def renew(pair: object) -> None:
        broker.down()
        monkeypatch.setattr(broker, "tls", pair)
        broker.up()

    renew(good)
    with structlog.testing.capture_logs() as lines:
        async with enforcing(known, broker, cluster=cluster):
            await becomes(lambda: settled(known))
            renew(expired)
            broker.calls.clear()
            known.remove(identity("alice", b"right"))
            await becomes(lambda: any("certificate has expired" in str(line.get("why")) for line in lines))
            await becomes(lambda: metrics.WAITING.labels("under-test")._value.get() == 1)
            assert metrics.API_UP.labels("under-test")._value.get() == 0
            # Nobody is talked to who cannot prove who he is: the key stays here.
            assert not broker.calls
            assert not broker.disconnected
            with suppress(OSError):
                renew(good)
            await becomes(lambda: settled(known))
    assert broker.disconnected == ["alice-1"]
    (line,) = [line for line in lines if line["event"] == "revocations wait"]
    assert line["why"].endswith("(certificate has expired); renew it, or name its issuer by ca_file")
    assert lines[-1]["event"] == "revocations go on"
    assert SECRET not in repr(lines)
