"""Snapshots: what is in them, what is not, and plans against them."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from documents_under_test import documents
from hypothesis import HealthCheck, given, settings
from rollbacks_under_test import back
from stores_under_test import HASH, Store, described
from sync_commands_under_test import ONE, run, workplace

from store.seal import SealKeys, new_key
from store.sync.hold import holds_of
from store.sync.plan import Plan, plan
from store.sync.recorded import without_fingerprints
from store.sync.snapshot import FORMAT, UnusableSnapshot, snapshot_store, write_snapshot
from store.sync.stand_ins import ByName, Compared
from store.tables import TABLES, content

Lines = list[dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


def taken(store: Store) -> Path:
    """A snapshot of the store."""
    stream = io.StringIO()
    with store.open() as database:
        count = write_snapshot(database, stream, clock=lambda: store.now)
    path = store.folder / "store.snapshot"
    path.write_text(stream.getvalue())
    assert len(stream.getvalue().splitlines()) == count + 2
    return path


def against(store: Store, text: str, path: Path, *, prune: bool = True) -> Plan:
    with snapshot_store(path) as database:
        return plan(database, store.load(text), ByName(), prune=prune, now_ms=store.now)


def said(path: Path) -> Lines:
    return [json.loads(line) for line in path.read_text().splitlines()]


@given(documents(), documents())
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_holds_what_the_store_holds(first: str, last: str) -> None:
    """The plan against it is the plan against the store, made without secrets."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.apply(first, allow_empty=True)
        path = taken(store)
        with snapshot_store(path) as database:
            held = {
                (table.kind, *map(str, record.key)): without_fingerprints(content(record))
                for table in TABLES
                for _, record in database.contents(table)
            }
        assert held == {key: without_fingerprints(value) for key, value in store.contents().items()}
        assert against(store, first, path).changes == ()
        with store.open() as database:
            direct = plan(database, store.load(last), ByName(), prune=True, now_ms=store.now)
        made = against(store, last, path)
        assert (described(made), made.losing) == (described(direct), direct.losing)
        back_in, before = ([(one.subject, one.at) for one in each.readmitted] for each in (made, direct))
        assert back_in == before
        assert (made.owned, made.foreign) == (direct.owned, direct.foreign)


class TestWhatIsNotInIt:
    def test_no_secret_no_hash_and_no_fingerprint(self, store: Store) -> None:
        store.keys = SealKeys.from_text(new_key(), "k")
        store.apply(
            "identities:\n"
            "  - {username: a, sign_mode: origin, secrets: [{id: x, literal: Canary-1}, {id: y, literal: Canary-2}]}\n"
            "  - {username: b, sign_mode: hashed, secret: {literal: Canary-3}}\n"
            f"  - {{username: c, secret: {{hash: '{HASH}'}}}}\n"
        )
        text = taken(store).read_text()
        with store.open() as database:
            rows = database.connection.execute("SELECT sealed, fingerprint FROM identity_secrets").fetchall()
            sealed = [row[0].hex() for row in rows]
            printed = [row[1] for row in rows]
            key = database.draw_key.hex()
        for secret in (*sealed, *printed, key, "Canary", "$argon2id", "c2FsdHNhbHQ"):
            assert secret not in text
        secrets = [line["record"].get("secrets") for line in said(store.folder / "store.snapshot") if "record" in line]
        assert [found for found in secrets if found] == [
            [{"id": "x"}, {"id": "y"}],
            [{"id": "default"}],
            [{"id": "default"}],
        ]


class TestComparing:
    TWO = "identities: [{username: u, sign_mode: origin, secrets: [{id: a, env: NOWHERE_A}, {id: b, file: nowhere}]}]\n"

    def prepare(self, store: Store) -> Path:
        store.apply(self.TWO.replace("env: NOWHERE_A", "literal: x").replace("file: nowhere", "literal: y"))
        return taken(store)

    def test_secrets_are_not_resolved(self, store: Store) -> None:
        made = against(store, self.TWO, self.prepare(store))
        assert (made.changes, made.compared) == ((), Compared.NAME)

    @pytest.mark.parametrize(
        ("old", "new", "kind"),
        [("id: a", "id: c", "change"), ("file: nowhere", "file: nowhere, expires: 2030-01-01", "change")],
    )
    def test_id_and_expiry_count(self, store: Store, old: str, new: str, kind: str) -> None:
        made = against(store, self.TWO.replace(old, new), self.prepare(store))
        assert described(made) == [f"{kind} identity mqtt-default USER u"]

    def test_its_checksum_is_none_to_apply_by(self, store: Store) -> None:
        text = "blacklist: [{client_id: c}]\n"
        store.apply(text)
        more = text.replace("c}", "c}, {client_id: d}")
        assert against(store, more, taken(store)).checksum != store.plan(more, prune=True).checksum

    def test_label_and_holds_come_along(self, store: Store) -> None:
        store.apply(ONE.replace("env: EXHOOK_SECRET_U", "literal: x"), label="prod")
        store.apply(ONE.replace("env: EXHOOK_SECRET_U", "literal: x").replace("u,", "u, note: n,"))
        back(store, 1, reason="x")
        with snapshot_store(taken(store)) as database:
            assert database.environment == "prod"
            assert (holds_of(database)["policy"].to, database.revision) == (1, 0)


def edited(change: Callable[[Lines], Any]) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        lines = said(path)
        change(lines)
        path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))

    return edit


def whole(line: str) -> Callable[[Path], Any]:
    return lambda path: path.write_text(line)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-130])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a newer version": (
        edited(lambda lines: lines[0].update(format="exhook-snapshot/v2")),
        f"was written by a newer exhook-sync (exhook-snapshot/v2, and this one reads {FORMAT}); upgrade this one",
    ),
    "cut off within a line": (cut, ":4: ends in the middle of a line"),
    "cut off between lines": (edited(lambda lines: lines.pop()), ":4: is not whole: its end is missing"),
    "a line less": (edited(lambda lines: lines.pop(3)), ":4: counts 3 records, and holds 2"),
    "a line twice": (edited(lambda lines: lines.insert(3, lines[3])), ":5: holds a record twice"),
    "an instance less": (edited(lambda lines: lines.pop(1)), ":2: holds a record twice, or one before its instance"),
    "more behind it": (edited(lambda lines: lines.append(lines[1])), ":6: goes on after its end"),
    "another name": (edited(lambda lines: lines[2]["record"].update(username="v")), ":5: was edited: "),
    "another place": (edited(lambda lines: lines[2].update(origin="elsewhere.yaml:1")), ":5: was edited: "),
    "another label": (edited(lambda lines: lines[0].update(environment="test")), ":5: was edited: "),
    "no digest": (edited(lambda lines: lines[-1].pop("sha256")), ":5: was edited: "),
    "another layout": (lambda path: path.write_text(path.read_text().replace(":", ": ")), ":5: was edited: "),
    "nothing": (whole(""), ":1: is no snapshot"),
    "a policy": (whole("format: exhook/v1\n"), ":1: is no snapshot"),
    "a plan": (whole('{"format": "exhook-plan/v1"}\n'), ":1: is no snapshot"),
    "a list": (whole("[]\n"), ":1: is no snapshot"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\0"), ":1: is no snapshot"),
    "depth": (whole("[" * 100_000), ":1: is no snapshot"),
    "no label": (edited(lambda lines: lines[0].pop("environment")), ":1: is no head of a snapshot"),
    "a hold of another shape": (
        edited(lambda lines: lines[0].update(holds=[{"source": 1}])),
        ":1: is no head of a snapshot",
    ),
    "an unknown kind": (
        edited(lambda lines: lines[2].update(kind="visitor")),
        ":3: holds no record here ('visitor' is no",
    ),
    "an unknown field": (edited(lambda lines: lines[2]["record"].update(later=1)), ":3: holds no record here (the fie"),
    "a missing field": (edited(lambda lines: lines[2]["record"].pop("username")), ":3: holds no record here (a field"),
    "no name": (edited(lambda lines: lines[2]["record"].update(username="")), ":3: holds no record here (an empty use"),
    "a number for a name": (
        edited(lambda lines: lines[2]["record"].update(username=5)),
        ":3: holds no record here (5 is nothing that the field 'username' can hold)",
    ),
    "half a character": (edited(lambda lines: lines[2]["record"].update(username="\ud800")), ":3: holds no record"),
    "a wrong word": (edited(lambda lines: lines[2]["record"].update(sign_mode="NONE")), ":3: holds no record here"),
    "a huge number": (edited(lambda lines: lines[2]["record"].update(expires_at=2**63)), ":3: holds no record here"),
    "truth": (edited(lambda lines: lines[2]["record"].update(expires_at=True)), ":3: holds no record here"),
    "protect": (edited(lambda lines: lines[2]["record"].update(protect=2)), ":3: holds no record here"),
    "secrets": (edited(lambda lines: lines[2]["record"].update(secrets=5)), ":3: holds no record here"),
    "a secret": (edited(lambda lines: lines[2]["record"].update(secrets=[5])), ":3: holds no record here"),
    "no id of a secret": (edited(lambda lines: lines[2]["record"].update(secrets=[{}])), ":3: holds no record here"),
    "an id of a secret": (
        edited(lambda lines: lines[2]["record"].update(secrets=[{"id": 1}])),
        ":3: holds no record here",
    ),
    "no record": (edited(lambda lines: lines[2].update(record=5)), ":3: is no snapshot"),
    "no place": (edited(lambda lines: lines[2].update(origin=5)), ":3: is no snapshot"),
}


class TestDamage:
    @pytest.mark.parametrize("name", DAMAGE)
    def test_it_is_told_in_one_sentence(self, store: Store, name: str) -> None:
        damage, sentence = DAMAGE[name]
        store.apply(f"{ONE.replace('env: EXHOOK_SECRET_U', 'literal: x')}blacklist: [{{client_id: c}}]\n")
        path = taken(store)
        damage(path)
        with pytest.raises(UnusableSnapshot) as caught, snapshot_store(path):
            pass
        told = str(caught.value)
        assert told.startswith(f"{path}:")
        assert sentence in told
        assert "\n" not in told

    def test_a_whole_one_is_read(self, store: Store) -> None:
        """So that the damages are what is told of."""
        store.apply(f"{ONE.replace('env: EXHOOK_SECRET_U', 'literal: x')}blacklist: [{{client_id: c}}]\n")
        path = taken(store)
        edited(lambda _: None)(path)
        with snapshot_store(path):
            pass
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        with snapshot_store(path):
            pass


class TestCommand:
    def test_what_is_no_snapshot_is_neither_told_to_be_overwritten_nor_is(self, store: Store) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        done = run("plan", "policy.yaml", "--against", "policy.yaml")
        assert (done.exit_code, done.stderr) == (
            8,
            "policy.yaml:1: is no snapshot; make one by exhook-sync snapshot -o store.snapshot, and name that\n",
        )
        done = run("snapshot", "-o", "policy.yaml")
        assert (done.exit_code, done.stderr) == (
            64,
            "policy.yaml: is there, and no snapshot; name another file, or move it away\n",
        )
        assert Path("policy.yaml").read_text().endswith(ONE)
        Path("empty").touch()
        for target in ("empty", "new", "new", "/dev/null"):
            assert run("snapshot", "-o", target).exit_code == 0

    def test_from_production_to_a_plan(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        done = run("snapshot", "-o", "prod.snapshot")
        assert (done.exit_code, done.output) == (0, "prod.snapshot is written: 2 records, no secrets\n")
        assert run("snapshot").stdout.splitlines()[1:-1] == Path("prod.snapshot").read_text().splitlines()[1:-1]
        Path("exhook.db").unlink()
        monkeypatch.delenv("EXHOOK_SECRET_U")
        assert run("plan", "policy.yaml", "--against", "prod.snapshot", "--no-secrets").exit_code == 0
        store.write(f"{ONE}permissions: [{{username: u, publish: [t]}}]\n")
        done = run("plan", "policy.yaml", "--against", "prod.snapshot", "--output", "text", "--output", "json=p.json")
        assert done.exit_code == 2
        assert "+ user u may publish t (mqtt-default)" in done.stdout
        assert "secrets were not compared, but for their ids and expiry" in done.stdout
        assert "checksum " not in done.stdout.replace("a checksum to apply by needs them", "")
        plan = json.loads(Path("p.json").read_text())
        assert (plan["checksum"], plan["secrets_compared"]) == (None, "name")
        assert not Path("exhook.db").exists()

    def test_a_plan_against_a_store_needs_no_secrets_either(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        monkeypatch.delenv("EXHOOK_SECRET_U")
        assert run("plan", "policy.yaml").exit_code == 7
        assert run("plan", "policy.yaml", "--no-secrets").exit_code == 0

    def test_what_apply_would_refuse_is_told(self, store: Store) -> None:
        store.write(ONE)
        run("apply", "policy.yaml", "--label", "prod")
        run("snapshot", "-o", "prod.snapshot", "-q")
        store.write(f"sync: {{environment: test}}\n{ONE}")
        assert "the store is labelled prod" in run("plan", "policy.yaml", "--against", "prod.snapshot").stdout

    def test_one_that_cannot_be_used_is_exit_code_8(self, store: Store) -> None:
        store.write(ONE)
        done = run("plan", "policy.yaml", "--against", "nowhere")
        mend = "make one by exhook-sync snapshot -o store.snapshot, and name that"
        told = f"nowhere: cannot be read (No such file or directory); {mend}\n"
        assert (done.exit_code, done.stderr) == (8, told)
        Path("x.snapshot").write_text("{}\n")
        done = run("plan", "policy.yaml", "--against", "x.snapshot")
        assert (done.exit_code, done.stderr) == (8, f"x.snapshot:1: is no snapshot; {mend}\n")

    @pytest.mark.usefixtures("store")
    def test_without_a_store_there_is_nothing_to_write(self) -> None:
        done = run("snapshot")
        assert (done.exit_code, "there is no store" in done.stderr, done.stdout) == (8, True, "")

    def test_a_file_that_cannot_be_written_is_told(self, store: Store) -> None:
        store.write(ONE)
        run("apply", "policy.yaml")
        done = run("snapshot", "-o", "nowhere/x")
        assert (done.exit_code, done.stderr.startswith("nowhere/x: cannot be written")) == (64, True)
