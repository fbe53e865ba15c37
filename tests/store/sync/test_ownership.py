"""Whatever order files, the API and rollbacks write in, everybody's records are his own."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from documents_under_test import documents
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rollbacks_under_test import FREELY, back, owned
from stores_under_test import Store, identity

from store.records import Action, BlacklistEntry, Effect, Grantee, Instance, Permission, Record
from store.sync.hold import release
from store.sync.recorded import without_fingerprints
from store.sync.stand_ins import ByName
from store.sync.thresholds import Refused
from store.tables import BY_KIND, INSTANCES, content

FILES = st.tuples(st.sampled_from(["plant", "office"]), documents())
NAMES = ("sensors", "gateway", "no", "1e3")
API = st.tuples(st.just("api"), st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
BACK = st.tuples(st.just("back"), st.sampled_from(["plant", "office", "api"]), st.floats(0, 1))


@given(st.lists(st.one_of(FILES, FILES, API, BACK), min_size=2, max_size=7))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nobody_touches_what_is_not_his(steps: Sequence[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        for step in steps:
            source, *more = step
            if source == "api":
                others_stay(store, "api", partial(write_by_api, store, more[0]))
            elif source == "back":
                if store.path.exists():
                    others_stay(store, more[0], partial(roll_back, store, *more))
            else:
                others_stay(store, source, partial(write_by_file, store, source, more[0]))


def others_stay(store: Store, source: str, write: Callable[[], None]) -> None:
    """Run a write of one source; the records of the others are as before, to the letter."""
    before = store.contents()
    write()
    after = store.contents()
    for other in {"plant", "office", "api"} - {source}:
        assert owned(after, other) == owned(before, other)
    assert {said.get("source", "api") for said in after.values()} <= {"plant", "office", "api"}


def write_by_file(store: Store, source: str, text: str) -> None:
    """Afterwards the source has what the file says and nothing else; or all is as before, since others own some."""
    text = f"source: {source}\n{text}"
    before = store.contents()
    wanted = said_by(store, text)
    foreign = [
        key for key in wanted if key[0] in {"group", "identity"} and before.get(key, {}).get("source", source) != source
    ]
    try:
        store.apply(text, prune=True, **FREELY)
    except Refused as error:
        if not {one.rule for one in error.refusals} <= {"foreign", "in_use"}:
            raise
        refused = True
    else:
        refused = False
    if refused:
        assert store.contents() == before
        return
    assert foreign == []
    mine = {key: without_fingerprints(said) for key, said in owned(store.contents(), source).items()}
    assert {key: said for key, said in mine.items() if key[0] != "instance"} == wanted


def said_by(store: Store, text: str) -> dict[tuple[str, ...], Any]:
    """What a policy says, without its instances, read straight from the file."""
    policy = store.load(text)
    identities = [spec.identity(ByName().secrets(spec, ())) for spec in policy.identities]
    records: list[Record] = [*policy.groups, *identities, *policy.permissions, *policy.blacklist]
    return {(one.kind, *map(str, one.key)): without_fingerprints(content(one)) for one in records}


def write_by_api(store: Store, names: Sequence[str]) -> None:
    """Write as an API does: what a file owns is left alone."""
    with store.open() as database, database.writing(actor="api", source="api", now_ms=store.now) as write:
        where = next(iter(database.records(INSTANCES)), None)
        if where is None:
            where = Instance(name="mqtt-api")
            write.put(where)
        for record in (record for name in names for record in records_of(where.name, name)):
            found = database.get(BY_KIND[record.kind], record.key)
            if found is None or found.source == "api":
                write.put(replace(record, note=" ".join(names)))


def records_of(where: str, name: str) -> list[Record]:
    grant = {"instance": where, "identity_type": Grantee.USER, "identity": name, "topic": "a", "action": Action.PUB}
    return [
        identity(name, instance=where),
        Permission(**grant, effect=Effect.ALLOW),  # type: ignore[arg-type]
        BlacklistEntry(instance=where, username=name),
    ]


def roll_back(store: Store, source: str, how_far: float) -> None:
    """Go back to some revision, and let go on."""
    revision = store.revision
    done = back(store, round(revision * how_far), source)
    if done.hold is not None:
        with store.open() as database:
            release(database, source)
