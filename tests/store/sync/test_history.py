"""The commands that look back and go back, as a user has them."""

import json
import re
from pathlib import Path

import pytest
from stores_under_test import HASH, Store, identity, instance
from sync_commands_under_test import ONE, on_a_terminal, run, workplace

from store.records import BlacklistEntry
from store.seal import new_key
from store.sweeper import sweep
from store.sync.exit_codes import ExitCode

GRANT = "permissions: [{id: p, username: u, publish: [t]}]\n"
MEND = (
    "let the files say what the store says (an apply that finds nothing to change ends the hold), or say "
    "exhook-sync release --source policy"
)
REFUSED = (
    "rollback would refuse: 1 record would allow something again: "
    "user u may publish a (mqtt-default): is granted again; if it shall be so, say --allow-regrant"
)
HELD = re.compile(
    r"policy is held since \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ by .+, who rolled it back from revision 2 to 1 "
    r"\(too wide\); " + re.escape(MEND) + "\n"
)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    return workplace(tmp_path, monkeypatch)


@pytest.fixture
def twice(store: Store) -> Store:
    """Two revisions: the second has a grant more."""
    for text in (ONE, ONE + GRANT):
        store.write(text)
        assert run("apply", "policy.yaml", "-q").exit_code == 0
    return store


class TestHistory:
    def test_how_it_reads(self, store: Store) -> None:
        store.apply("blacklist: [{client_id: c}]\n")
        store.apply("source: a-longer-name\nblacklist: [{client_id: c}]\n")
        with store.open() as database:
            database.connection.execute("UPDATE revisions SET actor = 'ana@host', commit_id = '1a2b3c4'")
            sums = [row[0][:12] for row in database.connection.execute("SELECT checksum FROM revisions")]
        assert run("history").stdout.splitlines() == [
            "revision  time                  source         commit   +  ~  -  expired  checksum      actor",
            f"       2  2027-01-15T08:00:00Z  a-longer-name  1a2b3c4  1  0  0        0  {sums[1]}  ana@host",
            f"       1  2027-01-15T08:00:00Z  policy         1a2b3c4  2  0  0        0  {sums[0]}  ana@host",
        ]

    def test_limit_and_json(self, store: Store) -> None:
        for number in range(25):
            store.apply(f"blacklist: [{{client_id: c{number}}}]\n")
        assert len(run("history").stdout.splitlines()) == 21
        assert len(run("history", "--limit", "3").stdout.splitlines()) == 4
        said = json.loads(run("history", "--limit", "30", "--json").stdout)
        assert [one["revision"] for one in said["revisions"]] == list(range(25, 0, -1))
        assert said["holds"] == []
        assert said["revisions"][-1].keys() == {
            "revision", "at", "actor", "source", "commit", "checksum", "added", "changed", "removed", "expired",
        }  # fmt: skip
        assert said["revisions"][-1]["at"] == "2027-01-15T08:00:00Z"
        assert len(said["revisions"][-1]["checksum"]) == 64

    def test_holds_stand_below(self, twice: Store) -> None:
        run("rollback", "1", "--reason", "too wide")
        assert HELD.fullmatch(run("history").stdout.splitlines(keepends=True)[-1])
        [hold] = json.loads(run("history", "--json").stdout)["holds"]
        assert (hold["source"], hold["since"], hold["to"], hold["reason"]) == ("policy", 2, 1, "too wide")
        assert twice.revision == 3

    def test_an_empty_store(self, store: Store) -> None:
        with store.open():
            pass
        assert run("history").stdout == "nothing has been written to this store yet\n"
        assert json.loads(run("history", "--json").stdout) == {"revisions": [], "holds": []}

    @pytest.mark.usefixtures("store")
    @pytest.mark.parametrize("command", [["history"], ["show", "1"], ["rollback", "1"], ["release"]])
    def test_no_store_is_exit_code_8_and_none_is_made(self, command: list[str]) -> None:
        done = run(*command)
        assert (done.exit_code, "there is no store" in done.stderr) == (8, True)
        assert list(Path().iterdir()) == []

    def test_names_cannot_steer_a_terminal(self, store: Store) -> None:
        store.put(instance(), BlacklistEntry(instance="mqtt-default", client_id="c\x1b[2J\u202e[red]"))
        with store.open() as database:
            database.connection.execute("UPDATE revisions SET actor = ?", ("a\x1b[2J\n[b]",))
        for command in (["history"], ["show", "1"]):
            out = run(*command).stdout
            assert r"\x1b[2J" in out
            assert "\x1b" not in out
            assert "\u202e" not in out


class TestShow:
    def test_how_it_reads(self, store: Store) -> None:
        store.apply(
            "identities: [{id: i, username: u, sign_mode: signed, secrets: [{id: a, literal: x}]}]\n"
            "permissions: [{username: u, publish: [t, s]}]\n"
        )
        store.apply(
            "sync: {prune: true}\n"
            "identities: [{id: i, username: u, sign_mode: signed, note: n, "
            "secrets: [{id: a, literal: y}, {id: b, literal: x}]}]\n"
            "permissions: [{username: u, both: [t]}]\n"
        )
        first, second, *rest = run("show", "2").stdout.splitlines()
        assert first.startswith("revision 2  2027-01-15T08:00:00Z  ")
        assert re.fullmatch(r"source policy  checksum [0-9a-f]{64}", second)
        assert rest == [
            "identities",
            "  ~ user u (mqtt-default)  [i]",
            "      note: none → n",
            "      secret a: another value",
            "      secret b: added",
            "permissions",
            "  ~ user u may publish and subscribe t (mqtt-default)",
            "      action: PUB → PUB_SUB",
            "  - user u may publish s (mqtt-default)",
            "0 records added, 2 changed, 1 removed, 0 expired",
        ]

    def test_json_says_before_and_after_without_secrets(self, store: Store) -> None:
        store.apply(f"identities: [{{username: u, secret: {{hash: '{HASH}'}}}}]\n")
        store.apply(f"identities: [{{username: u, secret: {{hash: '{HASH.replace('U', 'V')}'}}}}]\n")
        done = run("show", "2", "--json")
        said = json.loads(done.stdout)
        assert (said["revision"], said["changed"]) == (2, 1)
        [change] = said["changes"]
        assert (change["operation"], change["kind"], change["key"][2]) == ("change", "identity", "u")
        assert change["before"]["secrets"] == change["after"]["secrets"] == [{"id": "default"}]

    def test_what_expired(self, store: Store) -> None:
        store.apply("blacklist: [{client_id: c, expires: 2027-01-15T08:00:01Z}]\n")
        with store.open() as database:
            assert sweep(database, store.now + 2000) == 1
        lines = run("show", "2").stdout.splitlines()
        assert lines[2:] == [
            "expired",
            "  client c may not connect (mqtt-default)",
            "0 records added, 0 changed, 0 removed, 1 expired",
        ]

    def test_what_another_version_wrote(self, store: Store) -> None:
        store.apply("blacklist: [{client_id: c}]\n")
        with store.open() as database:
            database.connection.execute(
                "UPDATE changes SET after = json_set(after, '$.later', 1) WHERE kind = 'blacklist'"
            )
        assert "written by another version\n  add blacklist mqtt-default c policy\n" in run("show", "1").stdout
        assert json.loads(run("show", "1", "--json").stdout)["changes"][1]["after"]["later"] == 1

    def test_fifty_of_a_kind(self, store: Store) -> None:
        store.apply(f"blacklist: [{', '.join(f'{{client_id: c{number}}}' for number in range(60))}]\n")
        assert run("show", "1").stdout.count("may not connect") == 50
        assert run("show", "1", "--all").stdout.count("may not connect") == 60

    @pytest.mark.parametrize("number", ["0", "3", "99999999999999999999"])
    def test_a_revision_that_never_was(self, twice: Store, number: str) -> None:
        done = run("show", "--", number)
        assert (done.exit_code, done.stderr) == (
            64, f"exhook.db: there is no revision {number}; its revisions go from 1 to {twice.revision}\n",
        )  # fmt: skip

    def test_nor_one_of_an_empty_store(self, store: Store) -> None:
        with store.open():
            pass
        assert run("show", "1").stderr == "exhook.db: there is no revision 1; it has none yet\n"


class TestRollback:
    def test_how_it_reads(self, store: Store) -> None:
        text = "identities: [{username: v, sign_mode: origin, secret: {literal: x}}]\n"
        store.apply(f"{text}permissions: [{{username: u, publish: [a]}}]\n")
        store.apply("sync: {prune: true}\npermissions: [{username: u, publish: [b]}]\n")
        before = store.contents()
        done = run("rollback", "1", "--dry-run")
        assert (done.exit_code, store.contents()) == (2, before)
        assert done.stdout.splitlines() == [
            "permissions",
            "  + user u may publish a (mqtt-default)",
            "  - user u may publish b (mqtt-default)  policy.yaml:3",
            "loses something",
            "  user u (mqtt-default): a grant goes",
            "  (felt at the next publish or subscribe; a subscription that stands ends with the connection)",
            "is allowed again",
            "  user u may publish a (mqtt-default): is granted again",
            "is not restored",
            "  user v (mqtt-default): its secrets went with it, and are not in the change log; an apply brings it back",
            REFUSED,
            "1 to add, 0 to change, 1 to remove; 1 client loses something",
        ]
        assert run("rollback", "1").exit_code == ExitCode.REFUSED
        done = run("rollback", "1", "--allow-regrant")
        assert done.exit_code == 0
        assert done.stdout.splitlines()[-2:] == [
            "rolled back to revision 1, as revision 3",
            f"policy is held: {MEND}",
        ]

    def test_json(self, twice: Store) -> None:
        said = json.loads(run("rollback", "1", "--dry-run", "--json").stdout)
        assert (said["to"], said["regrants"], said["left_out"], said["refusals"]) == (1, [], [], [])
        assert [one["operation"] for one in said["changes"]] == ["remove"]
        said = json.loads(run("rollback", "1", "--json").stdout)
        assert (said["revision"], said["hold"]["to"], twice.revision) == (3, 1, 3)

    def test_nothing_to_roll_back(self, twice: Store) -> None:
        done = run("rollback", "2")
        assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing to roll back")
        assert run("rollback", "2", "--dry-run").exit_code == 0
        assert (run("rollback", "2", "-q").output, twice.revision) == ("", 2)

    @pytest.mark.usefixtures("twice")
    def test_a_revision_that_never_was(self) -> None:
        done = run("rollback", "9")
        assert (done.exit_code, done.stderr.count("\n")) == (64, 1)
        assert "there is no revision 9" in done.stderr

    def test_a_gap_is_refused(self, twice: Store) -> None:
        with twice.open() as database:
            database.connection.execute("DELETE FROM changes WHERE revision = 2")
        done = run("rollback", "1")
        assert (done.exit_code, "no longer in the change log" in done.stderr) == (4, True)

    def test_the_source_must_be_known(self, twice: Store) -> None:
        assert run("rollback", "1", "--source", "nobody").exit_code == 64
        twice.apply("source: plant\nblacklist: [{client_id: c}]\n")
        done = run("rollback", "1")
        assert (done.exit_code, done.stderr) == (
            64, "exhook.db: holds records of several sources; name one of its sources by --source: plant, policy\n",
        )  # fmt: skip
        assert run("rollback", "1", "--source", "plant", "--allow-regrant", "--allow-empty").exit_code == 0

    def test_a_source_that_has_nothing_left_is_known(self, store: Store) -> None:
        store.apply("permissions: [{username: u, deny: {publish: [t]}}]\n")
        before = store.contents()
        store.apply("sync: {prune: true}\n", allow_empty=True)
        assert store.contents() == {}
        assert run("rollback", "1").exit_code == 0
        assert store.contents() == before

    def test_the_api_is_not_what_is_meant_by_itself(self, twice: Store) -> None:
        twice.put(identity("other"))
        assert run("rollback", "1").exit_code == 0

    def test_flags_let_through(self, store: Store) -> None:
        store.apply("permissions: [{username: u, publish: [t]}]\n")
        topics = ", ".join(f"t{number}" for number in range(20))
        store.apply(f"permissions: [{{id: q, username: u, protect: true, publish: [{topics}]}}]\n")
        assert run("rollback", "1").exit_code == 4
        flags = ["--max-removals", "20", "--allow-protected", "q", "--max-clients-losing", "1"]
        assert run("rollback", "1", *flags, "--max-clients-losing", "0").exit_code == 4
        assert run("rollback", "1", *flags).exit_code == 0

    def test_on_a_terminal_it_asks(self, twice: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXHOOK_SEAL_KEY", "")
        question = b"Roll policy back to revision 1? [y/N]: "
        code, out = on_a_terminal(["rollback", "1"], [(question, b"n\n")])
        assert (code, twice.revision) == (4, 2)
        assert b"user u may publish t" in out
        assert b"not applied, as you said" in out
        code, out = on_a_terminal(["rollback", "1"], [(question, b"y\n")])
        assert (code, twice.revision) == (0, 3)
        assert out.count(b"user u may publish t") == 1

    def test_with_yes_it_does_not(self, twice: Store) -> None:
        code, out = on_a_terminal(["rollback", "1", "--yes"], [])
        assert (code, twice.revision, b"[y/N]" in out) == (0, 3, False)


class TestHolds:
    def test_a_merge_request_that_was_too_wide(self, twice: Store) -> None:
        """Rolled back, held, reverted in git, applied again."""
        assert run("rollback", "1", "--reason", "too wide").exit_code == 0
        done = run("apply", "policy.yaml")
        assert (done.exit_code, bool(HELD.search(done.stderr))) == (4, True)
        planned = run("plan", "policy.yaml")
        assert (planned.exit_code, "apply would refuse: policy is held" in planned.stdout) == (2, True)
        twice.write(ONE)
        done = run("apply", "policy.yaml")
        assert (done.exit_code, done.stdout.splitlines()[-2:]) == (
            0, ["nothing to change", "the hold on policy is over: the files say what the store says"],
        )  # fmt: skip
        twice.write(ONE + GRANT)
        assert run("apply", "policy.yaml").exit_code == 0

    @pytest.mark.usefixtures("twice")
    def test_release(self) -> None:
        assert run("release").stdout == "nothing is held\n"
        assert run("release", "--source", "plant").stdout == "plant is not held\n"
        run("rollback", "1")
        done = run("release")
        assert (done.exit_code, done.stdout) == (
            0, "policy is no longer held; it was rolled back from revision 2 to 1\n",
        )  # fmt: skip
        assert run("apply", "policy.yaml").exit_code == 0

    def test_several_are_released_by_name(self, store: Store) -> None:
        for source in ("plant", "office"):
            store.apply(f"source: {source}\nblacklist: [{{client_id: c}}]\n")
            store.apply(f"source: {source}\nblacklist: [{{client_id: c}}, {{client_id: d}}]\n")
            run("rollback", str(store.revision - 1), "--source", source, "--allow-regrant")
        done = run("release")
        assert (done.exit_code, done.stderr) == (
            64, "exhook.db: several sources are held; name one by --source: office, plant\n",
        )  # fmt: skip
        assert run("release", "--source", "office", "-q").output == ""
        assert run("release").stdout.startswith("plant is no longer held")


class TestSecretsStayOut:
    def test_no_secret_no_hash_and_no_fingerprint_is_printed(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EXHOOK_SEAL_KEY", new_key())
        monkeypatch.setenv("EXHOOK_SECRET_U", "Canary-1")
        store.write(ONE)
        run("apply", "policy.yaml")
        monkeypatch.setenv("EXHOOK_SECRET_U", "Canary-2")
        store.write(ONE.replace("u,", "u, note: n,"))
        run("apply", "policy.yaml")
        said = "".join(
            run(*command).output
            for command in (
                ["history", "--json"],
                ["show", "2"],
                ["show", "2", "--json"],
                ["snapshot"],
                ["rollback", "1", "--dry-run", "--json"],
                ["rollback", "1", "--dry-run"],
                ["plan", "policy.yaml", "--output", "markdown"],
            )
        )
        assert "secret default: another value" in said
        assert "Canary" not in said
        assert re.findall(r"(?<![0-9a-f])[0-9a-f]{16}(?![0-9a-f])", said) == []

    def test_fingerprints_are_seen_on_a_terminal(self, store: Store) -> None:
        store.write(ONE)
        code, out = on_a_terminal(["plan", "policy.yaml"], [])
        assert (code, bool(re.search(rb"secret default: added \([0-9a-f]{16}\)", out))) == (2, True)
