"""Whether a user name exists shows in no answer and in no amount of work (pitfall 8)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from worker_under_test import INSTANCE, Serve, Store, identity, instance, secret

from exhook import decider, hashing
from exhook.hooks import DENY
from protos import exhook_v3_pb2
from store.credentials import work_of
from store.database import Database
from store.reader import Reader
from store.records import Identity, Secret, SecretForm, SignMode
from store.seal import SealKeys, new_key
from store.view import Client, Listener

NAMES = [f"stranger-{number}" for number in range(3000)]

SCHEMES = {
    "$argon2id$v=19$m=8,t=1,p=1": PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(b"hashed"),
    "$argon2id$v=19$m=16,t=2,p=1": PasswordHasher(time_cost=2, memory_cost=16, parallelism=1).hash(b"hashed"),
    "$7$20$64": f"$7$20$AAAAAAAAAAAAAAAA${'A' * 86}==",
    "$6$": f"$6$AAAAAAAAAAAAAAAA${'A' * 86}==",
}


def secrets_of(work: str) -> tuple[SignMode, tuple[Secret, ...]]:
    """Sign mode and secrets of an identity whose verification costs this."""
    parts = work.split(" ")
    if parts[0] in SignMode.__members__:
        return SignMode(parts[0]), tuple(secret(str(n), b"key-%d" % n) for n, _ in enumerate(parts))
    return SignMode.HASHED, tuple(
        secret(str(n), SCHEMES[part].encode(), SecretForm.HASH) for n, part in enumerate(parts)
    )


def known(work: str, number: int) -> Identity:
    mode, secrets = secrets_of(work)
    return identity(f"known-{work}-{number}", mode=mode, secrets=secrets)


MIX = {
    "ORIGIN": 40,
    "SIGNED": 25,
    "SIGNED SIGNED": 10,
    "$argon2id$v=19$m=8,t=1,p=1": 10,
    "$7$20$64": 8,
    "$6$": 5,
    "$argon2id$v=19$m=16,t=2,p=1 $argon2id$v=19$m=8,t=1,p=1": 2,
}
"""What verifying costs, and how many of 100 identities cost it."""

MIXED = [known(work, number) for work, count in MIX.items() for number in range(count)]


class Work:
    """Stands in for `verify`: notes what kind of work each call is."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def __call__(self, mode: SignMode, secrets: Sequence[Secret], _: str, __: bytes) -> None:
        self.kinds.append(f"{mode}: {work_of(mode, secrets)}")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    noted = Work()
    monkeypatch.setattr(decider, "verify", noted)
    monkeypatch.setattr(hashing, "verify", noted)
    return noted


@pytest.fixture
def mixed(store: Store) -> Store:
    store.put(*MIXED)
    return store


def drawn(reader: Reader, names: Sequence[str] = NAMES) -> list[str]:
    """The work that each unknown name is given."""
    listener = Listener("default", INSTANCE)
    views = (reader.view(INSTANCE, Client(name, "c", listener)) for name in names)
    return [work_of(*view.works.draw(name)) for view, name in zip(views, names, strict=True)]


@pytest.fixture
def reader(mixed: Store) -> Iterator[Reader]:
    opened = Reader(mixed.path, mixed.keys)
    yield opened
    opened.close()


@pytest.mark.usefixtures("mixed")
async def test_each_unknown_name_and_each_wrong_password_is_one_verification(serve: Serve, work: Work) -> None:
    """No name is answered without work, and none with a work that no identity has."""
    async with serve() as served:
        for username in [found.username for found in MIXED] + NAMES[:300]:
            assert not await served.authenticate("c", username, b"wrong")
    of_known, of_unknown = work.kinds[:100], work.kinds[100:]
    assert len(of_unknown) == 300
    assert Counter(kind.partition(": ")[2] for kind in of_known) == MIX
    assert set(of_unknown) == set(of_known)


def test_unknown_names_are_given_the_works_by_their_weight(reader: Reader) -> None:
    counts = Counter(drawn(reader))
    assert counts.keys() == MIX.keys()
    for kind, weight in MIX.items():
        expected = len(NAMES) * weight / 100
        # Five standard deviations of a binomial draw: the names are fixed, the key is not.
        spread = 5 * (expected * (1 - weight / 100)) ** 0.5
        assert abs(counts[kind] - expected) < spread, (kind, counts[kind], expected)


def test_a_name_is_given_the_same_work_by_every_worker_and_after_a_restart(mixed: Store, reader: Reader) -> None:
    first = drawn(reader)
    assert drawn(reader, NAMES[::-1]) == first[::-1]
    for _ in range(2):
        with closing(Reader(mixed.path, mixed.keys)) as other:
            assert drawn(other) == first


def test_another_store_draws_otherwise(reader: Reader, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who knows the software and the mix, but not the store's key, cannot tell which work a free name has."""
    other = Store(tmp_path_factory.mktemp("other") / "exhook.db")
    other.put(instance(), *MIXED)
    with closing(Reader(other.path, other.keys)) as theirs:
        same = sum(one == two for one, two in zip(drawn(reader), drawn(theirs), strict=True))
    by_chance = len(NAMES) * sum((weight / 100) ** 2 for weight in MIX.values())
    assert same < by_chance * 1.5


def test_a_key_rotation_changes_no_draw(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    store = Store(tmp_path / "sealed.db", SealKeys.from_text(old, "test"))
    store.put(instance(), *MIXED)
    both = SealKeys.from_text(f"{new}\n{old}", "test")
    with closing(Reader(store.path, store.keys)) as before:
        first = drawn(before)
    with Database.open(store.path, both) as database:
        assert database.reseal() > len(MIXED)
    with closing(Reader(store.path, SealKeys.from_text(new, "test"))) as after:
        assert drawn(after) == first


def test_other_identities_may_come_and_go_and_hardly_a_draw_changes(mixed: Store, reader: Reader) -> None:
    """Else an attacker would see a free name change its timing, and a taken one keep it."""
    first = drawn(reader)
    newcomers = [known("SIGNED", 1000 + number) for number in range(5)]
    mixed.put(*newcomers)
    reader.poll()
    changed = sum(one != two for one, two in zip(first, drawn(reader), strict=True))
    # Five of 105 are new: so large a share of the draws may move to their work, and no other.
    assert 0 < changed < len(NAMES) * 5 / 105 * 2
    moved = {two for one, two in zip(first, drawn(reader), strict=True) if one != two}
    assert moved == {"SIGNED"}
    mixed.remove(*newcomers)
    reader.poll()
    assert drawn(reader) == first


def test_a_name_that_comes_and_goes_draws_what_it_drew(mixed: Store, reader: Reader) -> None:
    first = drawn(reader)
    mixed.put(identity(NAMES[0], b"x"))
    mixed.remove(identity(NAMES[0], b"x"))
    reader.poll()
    assert drawn(reader) == first


async def test_all_refusals_are_the_same_bytes(serve: Serve, store: Store) -> None:
    now = 1_900_000_000_000
    store.put(
        *(known(work, 0) for work in MIX),
        identity("expired", b"right", expires_at=now - 1),
        identity("bounded", b"right", client_ids_prefix="meter-"),
        identity("external", mode=SignMode.EXTERNAL),
        identity("one-client", b"right", client_id="mine"),
    )
    names = [known(work, 0).username for work in MIX] + ["expired", "bounded", "external", "one-client", *NAMES[:20]]
    answers = set()
    async with serve(clock=lambda: now) as served:
        for name in names:
            for password in (b"wrong", b"right", b"\xff\xfe", b"x" * 60_000):
                info = {"clientid": b"c", "username": name.encode(), "password": password}
                body = exhook_v3_pb2.ClientAuthenticateRequest(clientinfo=info).SerializeToString()
                answers.add(await served.call("/emqx.exhook.v3.HookProvider/OnClientAuthenticate", body))
    assert answers == {DENY}


async def test_who_is_known_but_cannot_be_proven_costs_what_a_stranger_costs(
    serve: Serve, mixed: Store, work: Work
) -> None:
    now = 1_900_000_000_000
    special = ["expired", "all-secrets-expired", "bounded", "external", "one-client"]
    mixed.put(
        identity("expired", b"right", expires_at=now - 1),
        identity("all-secrets-expired", secrets=(secret("old", b"right", expires_at=now - 1),)),
        identity("bounded", b"right", client_ids_prefix="meter-"),
        identity("external", mode=SignMode.EXTERNAL),
        identity("one-client", b"right", client_id="mine"),
    )
    async with serve(clock=lambda: now) as served:
        for name in special:
            assert not await served.authenticate("c", name, b"right")
    assert len(work.kinds) == len(special)


async def test_in_an_empty_store_there_is_work_too(serve: Serve, work: Work) -> None:
    async with serve() as served:
        for name in NAMES[:10]:
            assert not await served.authenticate("c", name, b"wrong")
    assert work.kinds == ["ORIGIN: ORIGIN"] * 10
