"""From `exhook-sync apply` to the broker's API, with real processes; and what people are shown of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands_under_test import Exhook
from emqx_api_under_test import KEY, SECRET, EmqxApiUnderTest, Session
from server_under_test import HOST, Server, until
from worker_under_test import Store

from store.clock import now_ms
from store.revocations import EVERYBODY, MOST_ATTEMPTS, Place, Revocations, State
from store.runtime import Runtime
from store.sync.phrases import moment
from store.tables import Subject

POLICY = """
format: exhook/v1
identities:
  - {username: alice, sign_mode: origin, secret: {env: EXHOOK_SECRET_ALICE}}
  - {username: bob, sign_mode: origin, secret: {env: EXHOOK_SECRET_BOB}, expires: %s}
permissions:
  - {username: alice, subscribe: [%s]}
"""
SECRETS = {"EXHOOK_SECRET_ALICE": "canary-alice", "EXHOOK_SECRET_BOB": "canary-bob"}
NOTHING = "nothing ended yet"
ALICE = Subject("mqtt-test", "USER", "alice")


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


@pytest.fixture
def broker() -> Iterator[EmqxApiUnderTest]:
    with EmqxApiUnderTest() as made:
        yield made


def sync(folder: Path, command: str, *arguments: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "exhook-sync", command, "policy.yaml", *arguments],
        cwd=folder, env=SECRETS | {"PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 2}, done.stderr
    return done.stdout


def write_policy(folder: Path, expires: str, *topics: str) -> None:
    (folder / "policy.yaml").write_text(POLICY % (expires, ", ".join(topics)), encoding="utf-8")


def test_from_apply_to_the_api_and_back_to_people(tmp_path: Path, broker: EmqxApiUnderTest, exhook: Exhook) -> None:
    broker.join(Session("a1", "alice", {"a/1", "b/1"}), Session("b1", "bob"))
    (tmp_path / "key").write_text(f"{KEY}:{SECRET}\n", encoding="utf-8")
    config = tmp_path / "exhook.toml"
    config.write_text(
        f'[[emqx]]\nname = "plant"\nurl = "{broker.url}"\napi_key_file = "{tmp_path / "key"}"\n', encoding="utf-8"
    )
    write_policy(tmp_path, "2999-01-01", "a/1", "b/1")
    sync(tmp_path, "apply")
    with Server(tmp_path, "--config", str(config), "--metrics", f"{HOST}:0") as server:
        server.line("enforcing")
        until(lambda: server.metrics().get('exhook_revocations_total{cluster="plant",result="done"}') == 1)
        assert not broker.disconnected

        # Narrowed: the plan says that live subscriptions go, and they do.
        write_policy(tmp_path, "2999-01-01", "a/1")
        (tmp_path / "policy.yaml").write_text(
            (tmp_path / "policy.yaml").read_text(encoding="utf-8") + "sync: {prune: true}\n", encoding="utf-8"
        )
        planned = sync(tmp_path, "plan")
        assert "user alice (mqtt-default): a grant goes → subscriptions that are no longer allowed end\n" in planned
        assert "(→ live sessions, too, as soon as this is applied: on plant)" in planned
        sync(tmp_path, "apply")
        until(lambda: broker.sessions["a1"].topics == {"a/1"})
        assert not broker.disconnected

        # Expired: nobody commits anything but the sweeper.
        ends = now_ms() + 1_500
        write_policy(tmp_path, moment(ends), "a/1")
        sync(tmp_path, "apply")
        until(lambda: broker.disconnected == ["b1"])
        assert now_ms() >= ends

        until(lambda: json.loads(exhook("revocations", "--json").out)["clusters"]["plant"]["waiting"] == 0)
        done = exhook("revocations")
        assert done.code == 0
        assert done.out.startswith("plant: ")
        assert "user bob (mqtt-default) (revision" in done.out
        assert "done  user alice (mqtt-default)" in done.out
        assert "0 sessions, 1 subscription ended" in done.out
        status = json.loads(exhook("status", "--json").out)
        assert status["ok"], status
        assert status["clusters"]["plant"]["api"]["up"] is True
        metrics = server.metrics()
        assert metrics['exhook_emqx_api_up{cluster="plant"}'] == 1
        assert metrics['exhook_revocation_ended_total{cluster="plant",what="session"}'] == 1
        said = server.said + server.metrics_text() + str(exhook("settings", "--config", str(config)).out)
    assert SECRET not in said
    assert "canary" not in said.replace("canary-emqx", "")


def test_without_a_cluster_the_plan_says_what_is_felt(tmp_path: Path) -> None:
    write_policy(tmp_path, "2999-01-01", "a/1", "b/1")
    sync(tmp_path, "apply")
    write_policy(tmp_path, "2999-01-01", "a/1")
    said = sync(tmp_path, "plan", "--prune")
    assert "a subscription that stands ends with the connection" in said


class TestRevocations:
    @pytest.fixture
    def rows(self, store: Store) -> Store:
        with Runtime.open(store.path) as runtime:
            made = Revocations(runtime)
            made.note("plant", Place("id", 3), 1_000, {ALICE: True, EVERYBODY: False, Subject("i", "ALL", ""): False})
            made.finish("plant", {2: 5}, 2_000)
            for _ in range(MOST_ATTEMPTS):
                made.refused(1, "EMQX 'plant': will not\x1b", 3_000)
            runtime.say("emqx plant", {"url": "http://127.0.0.1:1", "up": False, "why": "no answer"}, 4_000)
        return store

    def test_for_people(self, rows: Store, exhook: Exhook) -> None:
        done = exhook("revocations", "--db", str(rows.path))
        assert done.code == 1
        assert done.out.splitlines() == [
            "plant: 1 done, 1 waiting, 1 failed",
            "  all wait: no answer",
            "  failed ones were given up; mend what stands below them, and say exhook revocations --retry",
            "1970-01-01T00:00:01Z  plant  waiting  everyone in i (revision 3): nothing ended yet",
            "1970-01-01T00:00:01Z  plant  done  everybody (revision 3): 0 sessions, 5 subscriptions ended",
            f"1970-01-01T00:00:01Z  plant  failed  user alice (mqtt-test) (revision 3): {NOTHING}, tried 8 times of 8",
            "  EMQX 'plant': will not\\x1b",
        ]

    def test_what_is_half_done(self, rows: Store, exhook: Exhook) -> None:
        with Runtime.open(rows.path) as runtime:
            made = Revocations(runtime)
            made.refused(3, "one of them: 400", 3_000)
            made.finish("plant", {2: 0}, 3_500)
        said = exhook("revocations", "--db", str(rows.path)).out
        assert "everyone in i (revision 3): nothing ended yet, tried 1 time of 8\n  one of them: 400\n" in said

    def test_for_scripts(self, rows: Store, exhook: Exhook) -> None:
        said = json.loads(exhook("revocations", "--json", "--limit", "1", "--db", str(rows.path)).out)
        assert said["clusters"]["plant"] | {"api": None} == {"waiting": 1, "done": 1, "failed": 1, "api": None}
        (last,) = said["last"]
        assert (last["state"], last["type"], last["name"], last["instance"]) == ("waiting", "ALL", None, "i")

    def test_what_failed_is_tried_again_when_asked(self, rows: Store, exhook: Exhook) -> None:
        assert "1 revocation will be tried again" in exhook("revocations", "--retry", "--db", str(rows.path)).out
        with Runtime.open(rows.path) as runtime:
            (one,) = Revocations(runtime).due("plant", 0, 10, broad=False)
            assert (one.subject, one.attempts) == (ALICE, 0)

    def test_status_shows_them(self, rows: Store, exhook: Exhook) -> None:
        said = exhook("status", "--db", str(rows.path)).out
        assert "!          1 revocation failed on plant" in said
        assert "!          revocations wait: no answer" in said

    def test_no_server_ever(self, store: Store, exhook: Exhook) -> None:
        done = exhook("revocations", "--db", str(store.path))
        assert done.code == 64
        assert "no server has run on this store" in done.err

    def test_nothing_configured(self, store: Store, exhook: Exhook) -> None:
        Runtime.open(store.path).close()
        assert "[[emqx]]" in exhook("revocations", "--db", str(store.path)).out


class TestRows:
    """The rows themselves."""

    @pytest.fixture
    def revocations(self, tmp_path: Path) -> Iterator[Revocations]:
        with Runtime.open(tmp_path / "exhook.db") as runtime:
            yield Revocations(runtime)

    def test_place_and_rows_are_one(self, revocations: Revocations) -> None:
        with pytest.raises(Exception, match="NOT NULL"):
            revocations.note("plant", Place("id", None), 0, {ALICE: True})  # type: ignore[arg-type]
        assert revocations.place("plant") is None
        assert revocations.last(10) == []

    def test_what_is_done_makes_room(self, revocations: Revocations, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("store.revocations.KEPT_DONE", 3)
        revocations.note("plant", Place("id", 1), 0, {Subject("i", "USER", str(n)): False for n in range(10)})
        revocations.note_ended([(1, "c"), (2, "c")], 5)
        assert revocations.ended([1, 2, 3]) == {(1, "c"): 5, (2, "c"): 5}
        revocations.looked(dict.fromkeys(range(1, 9), 0), 5, 10)
        assert [one.id for one in revocations.due("plant", 14, 100, broad=False)] == [9, 10]
        assert len(revocations.due("plant", 15, 100, broad=False)) == 10
        revocations.finish("plant", dict.fromkeys(range(1, 9), 0), 20)
        assert revocations.counts()["plant"] == {
            State.WAITING: 2, State.AGAIN: 0, State.DONE: 8, State.FAILED: 0,
        }  # fmt: skip
        assert [one.id for one in revocations.last(10)] == [10, 9, 8, 7, 6]
        assert revocations.ended([1, 2]) == {}

    def test_refusals_put_off_longer_and_longer(self, revocations: Revocations) -> None:
        revocations.note("plant", Place("id", 1), 0, {ALICE: False})
        due = []
        for _ in range(MOST_ATTEMPTS - 1):
            assert not revocations.refused(1, "no", 0)
            due.append(revocations.last(1)[0].due)
        assert due == [500 << attempt for attempt in range(MOST_ATTEMPTS - 1)]
        assert revocations.refused(1, "no", 0)
        assert revocations.last(1)[0].state is State.FAILED

    def test_claims(self, revocations: Revocations) -> None:
        assert revocations.claim(os.getpid(), 0)
        assert revocations.claim(os.getpid(), 1)
        assert not revocations.claim(1, 9_999)
        assert revocations.claim(1, 10_001)
        assert not revocations.claim(os.getpid(), 10_002)
        revocations.release(1)
        assert revocations.claim(2**22 - 1, 10_003)
        # That process does not live.
        assert revocations.claim(1, 10_004)
