"""Policies of two git revisions, compared."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from sync_commands_under_test import run, workplace
from typer.testing import Result

from store.sync.git import Checkout, GitFailed

BASE = """\
format: exhook/v1
sync: {prune: true}
identities:
  - {username: u, sign_mode: origin, secret: {env: EXHOOK_SECRET_NOWHERE}}
permissions:
  - {username: u, publish: [a, b]}
"""
NEXT = BASE.replace("[a, b]", "[a, c]")


def git(*arguments: str, folder: Path = Path()) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


def committed(**files: str) -> str:
    """A commit of these files on what there is; the short id."""
    for name, text in files.items():
        path = Path(name.replace("__", "/").replace("_yaml", ".yaml"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git("add", "-A")
    git("commit", "-q", "--allow-empty", "-m", "c")
    return git("rev-parse", "--short", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A checkout whose only commit has the base; its short id."""
    workplace(tmp_path, monkeypatch)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    git("init", "-q", "-b", "main")
    return committed(policy_yaml=BASE)


def changes(done: Result) -> list[str]:
    assert done.exit_code in {0, 2}, done.output
    return [line.strip() for line in done.stdout.splitlines() if line[:4] in {"  + ", "  - ", "  ~ "}]


class TestSides:
    def test_a_revision_and_the_files_as_they_are(self, checkout: str) -> None:
        Path("policy.yaml").write_text(NEXT)
        done = run("diff", "HEAD")
        assert done.exit_code == 2
        assert done.stdout.splitlines() == [
            "permissions",
            "  + user u may publish c (mqtt-default)  policy.yaml:6",
            f"  - user u may publish b (mqtt-default)  policy.yaml:6@{checkout}",
            "loses something",
            "  user u (mqtt-default): a grant goes",
            "  (felt at the next publish or subscribe; a subscription that stands ends with the connection)",
            "1 to add, 0 to change, 1 to remove; 1 client loses something",
            "secrets were compared by where the files say they are found, not by value",
        ]

    def test_two_revisions(self, checkout: str) -> None:
        after = committed(policy_yaml=NEXT)
        Path("policy.yaml").write_text("broken")
        expected = [
            f"+ user u may publish c (mqtt-default)  policy.yaml:6@{after}",
            f"- user u may publish b (mqtt-default)  policy.yaml:6@{checkout}",
        ]
        assert changes(run("diff", "HEAD~1", "HEAD")) == expected
        assert changes(run("diff", checkout, "main", "policy.yaml")) == expected
        assert [line[0] for line in changes(run("diff", "HEAD", "HEAD~1"))] == ["+", "-"]

    @pytest.mark.usefixtures("checkout")
    def test_rows_that_are_included_name_their_commit(self) -> None:
        policy = "format: exhook/v1\nsync: {prune: true}\ninclude: [{blacklist: rows.jsonl}]\n"
        first = committed(policy_yaml=policy, **{"rows.jsonl": '{"client_id": "a"}\n'})
        second = committed(**{"rows.jsonl": '{"client_id": "b"}\n'})
        assert changes(run("diff", first, second)) == [
            f"+ client b may not connect (mqtt-default)  rows.jsonl:1@{second}",
            f"- client a may not connect (mqtt-default)  rows.jsonl:1@{first}",
        ]

    @pytest.mark.usefixtures("checkout")
    def test_the_same_is_exit_code_0(self) -> None:
        done = run("diff", "HEAD")
        assert (done.exit_code, changes(done)) == (0, [])
        Path("policy.yaml").write_text(NEXT)
        assert run("diff", "HEAD", "--exit-zero").exit_code == 0

    @pytest.mark.usefixtures("checkout")
    def test_folders_and_subfolders(self, monkeypatch: pytest.MonkeyPatch) -> None:
        after = committed(access__one_yaml=BASE, access__two_yaml="format: exhook/v1\ngroups: [GID_Sensors]\n")
        assert len(changes(run("diff", "HEAD~1", "HEAD", "access"))) == 5
        monkeypatch.chdir("access")
        assert f"+ group GID_Sensors (mqtt-default)  two.yaml:2@{after}" in changes(run("diff", "HEAD~1", "HEAD", "."))
        assert changes(run("diff", "HEAD~1", "HEAD", "../policy.yaml")) == []
        assert changes(run("diff", "HEAD~1", "HEAD", str(Path("..").resolve() / "policy.yaml"))) == []

    @pytest.mark.usefixtures("checkout")
    def test_a_policy_that_comes_and_one_that_goes(self) -> None:
        committed(new_yaml=BASE)
        git("rm", "-q", "policy.yaml")
        committed()
        assert [line[0] for line in changes(run("diff", "HEAD~2", "HEAD", "new.yaml"))] == ["+"] * 4
        assert [line[0] for line in changes(run("diff", "HEAD~2", "HEAD", "policy.yaml"))] == ["-"] * 4
        assert [line[0] for line in changes(run("diff", "HEAD~2"))] == ["-"] * 4

    @pytest.mark.usefixtures("checkout")
    def test_tags_and_branches_and_dates(self) -> None:
        git("tag", "-a", "-m", "v", "v1")
        committed(policy_yaml=NEXT)
        git("branch", "feature/x")
        for old in ("v1", "main~1", "HEAD^"):
            assert len(changes(run("diff", old, "feature/x"))) == 2

    @pytest.mark.usefixtures("checkout")
    def test_all_outputs(self) -> None:
        Path("policy.yaml").write_text(NEXT)
        done = run("diff", "HEAD", "--output", "gitlab", "--output", "json=d.json", "--output", "markdown=d.md")
        assert json.loads(done.stdout) == {"create": 1, "update": 0, "delete": 1}
        said = json.loads(Path("d.json").read_text())
        assert (said["checksum"], said["secrets_compared"]) == (None, "reference")
        assert "### Policy plan of" in Path("d.md").read_text()


class TestSecrets:
    @pytest.mark.usefixtures("checkout")
    @pytest.mark.parametrize(
        ("secret", "said"),
        [
            ("{env: EXHOOK_SECRET_OTHER}", "secret default: another value"),
            ("{file: EXHOOK_SECRET_NOWHERE}", "secret default: another value"),
            ("{literal: Canary-1}", "secret default: another value"),
            (
                "{env: EXHOOK_SECRET_NOWHERE, expires: 2030-01-01}",
                "secret default: expires never → 2030-01-01T00:00:00Z",
            ),
            ("{id: x, env: EXHOOK_SECRET_NOWHERE}", "secret x: added"),
            ("{stored: true}", "secret default: another value"),
        ],
    )
    def test_they_are_told_apart_by_what_is_written(self, secret: str, said: str) -> None:
        Path("policy.yaml").write_text(BASE.replace("{env: EXHOOK_SECRET_NOWHERE}", secret))
        done = run("diff", "HEAD", "-v")
        assert said in done.stdout
        assert "Canary" not in done.output

    @pytest.mark.usefixtures("checkout")
    def test_hashes_are_told_apart_and_not_shown(self) -> None:
        hashes = ["$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$" + letter * 43 for letter in "Ag"]
        texts = [
            BASE.replace("env: EXHOOK_SECRET_NOWHERE", f"hash: '{one}'").replace("origin", "hashed") for one in hashes
        ]
        committed(policy_yaml=texts[0])
        Path("policy.yaml").write_text(texts[1])
        done = run("diff", "HEAD", "--output", "text", "--output", "json", "--output", "markdown")
        assert done.stdout.count("another value") == 3
        assert "argon2id" not in done.output


class TestRemarks:
    @pytest.mark.usefixtures("checkout")
    def test_without_prune_what_left_stays(self) -> None:
        Path("policy.yaml").write_text(NEXT.replace("sync: {prune: true}", ""))
        assert "sync.prune is off: an apply keeps what left the files" in run("diff", "HEAD").stderr
        assert run("diff", "HEAD", "-q").output == ""

    @pytest.mark.usefixtures("checkout")
    def test_another_source_is_told(self) -> None:
        Path("policy.yaml").write_text(f"{BASE}source: plant\n")
        done = run("diff", "HEAD")
        assert (done.exit_code, changes(done)) == (0, [])
        assert "the policy's source changes from policy to plant: an apply would need --adopt policy" in done.stderr

    @pytest.mark.usefixtures("checkout")
    def test_warnings_are_those_of_the_second(self) -> None:
        Path("policy.yaml").write_text(BASE.replace("env: EXHOOK_SECRET_NOWHERE", "literal: x"))
        assert "policy.yaml:4:47: warning: a secret written" in run("diff", "HEAD").stderr
        committed()
        Path("policy.yaml").write_text(BASE)
        assert run("diff", "HEAD").stderr == ""
        assert "policy.yaml:4:47: warning: a secret written" in run("diff", "HEAD~1", "HEAD").stderr


class TestErrors:
    @pytest.mark.usefixtures("checkout")
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["nowhere"], "nowhere: there is no such revision; name a branch, a tag or a commit, then the files"),
            (["policy.yaml"], "policy.yaml: there is no such revision"),
            (["HEAD", "nowhere"], "nowhere: neither HEAD nor the working tree has it; name the policy files"),
            (["HEAD", "HEAD", "a.yaml", "b.yaml"], "a.yaml and b.yaml: neither HEAD nor HEAD has it"),
            (["HEAD", "../policy.yaml"], "../policy.yaml: is outside of the git checkout; name a file within it"),
            (["HEAD", "/etc/hosts"], "/etc/hosts: is outside of the git checkout"),
            (["HEAD", "-"], "-: standard input has no revisions"),
            (["HEAD", "--output", "x"], "--output x: no such output"),
            ([""], "exhook-sync diff: REF [REF] [PATH]... is empty"),
            (["--", "--all"], "--all: there is no such revision"),
            (["HEAD:policy.yaml"], "HEAD:policy.yaml: there is no such revision"),
        ],
    )
    def test_usage(self, arguments: list[str], said: str) -> None:
        done = run("diff", *arguments)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (64, "", 1)
        assert done.stderr.startswith(said)

    @pytest.mark.usefixtures("checkout")
    def test_a_name_that_is_both_is_not_guessed(self) -> None:
        git("branch", "access")
        committed(access__one_yaml=BASE)
        done = run("diff", "HEAD", "access")
        assert (done.exit_code, done.stderr) == (64, "access: is a revision and a file; write ./access for the file\n")
        assert run("diff", "HEAD", "./access").exit_code == 0

    def test_outside_of_a_checkout(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        done = run("diff", "HEAD")
        assert (done.exit_code, done.stderr) == (
            64, f"{tmp_path}: is in no git checkout; call this where the policy files are kept\n",
        )  # fmt: skip

    @pytest.mark.usefixtures("checkout")
    def test_within_the_git_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(".git")
        assert "is in no git checkout" in run("diff", "HEAD").stderr

    @pytest.mark.usefixtures("checkout")
    def test_without_git(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/nowhere")
        done = run("diff", "HEAD")
        assert (done.exit_code, done.stderr) == (64, "git cannot be called (No such file or directory); install it\n")

    @pytest.mark.usefixtures("checkout")
    def test_what_git_says_is_passed_on(self) -> None:
        Path(".git/config").write_text("[broken\n")
        done = run("diff", "HEAD")
        assert (done.exit_code, "bad config" in done.stderr) == (64, True)

    @pytest.mark.usefixtures("checkout")
    @pytest.mark.parametrize(("arguments", "where"), [(["HEAD~1"], "HEAD~1:policy.yaml:"), (["HEAD"], "policy.yaml:")])
    def test_a_broken_policy_names_its_revision(self, arguments: list[str], where: str) -> None:
        committed(policy_yaml=f"{BASE}sourc: x\n")
        if arguments == ["HEAD~1"]:
            committed(policy_yaml=BASE)
        else:
            committed(policy_yaml=BASE)
            Path("policy.yaml").write_text(f"{BASE}sourc: x\n")
        done = run("diff", *arguments)
        assert (done.exit_code, done.stderr.startswith(f"{where}7:1: ")) == (3, True)
        assert "exhook-diff" not in done.output

    @pytest.mark.usefixtures("checkout")
    def test_two_places_of_one_mistake_name_it_too(self) -> None:
        committed(access__a_yaml=f"{BASE}source: one\n", access__b_yaml="format: exhook/v1\nsource: two\n")
        done = run("diff", "HEAD", "HEAD", "access")
        assert done.stderr == (
            "HEAD:access/b.yaml:2:9: `source` differs from that at access/a.yaml:7; "
            "one policy has one, let one file say it\n"
        )


class TestUnpacking:
    """Files come out as they were committed, whatever attributes and links say."""

    def unpacked(self, tmp_path: Path) -> Path:
        folder = tmp_path / "unpacked"
        folder.mkdir()
        checkout = Checkout.around(Path())
        checkout.unpack(checkout.commit("HEAD"), folder)
        return folder

    @pytest.mark.usefixtures("checkout")
    def test_bytes_and_names(self, tmp_path: Path) -> None:
        files = {"a b.yaml": b"\0\xff\r\n", "é/ü.yaml": b"", "tab\tnew\nline": b"x" * 300_000, "-n": b"\n", '"q"': b"q"}
        for name, data in files.items():
            Path(name).parent.mkdir(exist_ok=True)
            Path(name).write_bytes(data)
        committed()
        folder = self.unpacked(tmp_path)
        assert {name: (folder / name).read_bytes() for name in files} == files

    @pytest.mark.usefixtures("checkout")
    def test_attributes_leave_nothing_out_and_start_nothing(self, tmp_path: Path) -> None:
        git("config", "filter.evil.smudge", f"touch {tmp_path}/evil; cat")
        committed(_gitattributes="x")
        Path(".gitattributes").write_text("policy.yaml export-ignore filter=evil\n")
        committed()
        assert (self.unpacked(tmp_path) / "policy.yaml").read_text() == BASE
        assert not (tmp_path / "evil").exists()

    @pytest.mark.usefixtures("checkout")
    def test_links_within_are_kept_and_those_that_lead_out_are_not(self, tmp_path: Path) -> None:
        Path("deep/down").mkdir(parents=True)
        Path("deep/down/x").write_text("x")
        for name, target in {
            "in": "policy.yaml",
            "to-in": "in",
            "folder": "deep/down",
            "out": "../secret",
            "absolute": str(tmp_path / "secret"),
            "deep/down/up": "../..",
            "deep/down/sly": "up/../secret",
            "loop": "loop",
        }.items():
            Path(name).symlink_to(target)
        Path("../secret").write_text("x")
        (tmp_path / "secret").write_text("x")
        committed()
        folder = self.unpacked(tmp_path)
        assert (folder / "in").read_text() == (folder / "to-in").read_text() == BASE
        assert (folder / "folder/x").read_text() == "x"
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink()}
        assert found - {"loop"} == {"in", "to-in", "folder", "deep/down/up"}

    @pytest.mark.usefixtures("checkout")
    def test_a_file_that_would_come_to_lie_outside_is_refused(self, tmp_path: Path) -> None:
        """Git itself makes no such tree; another may."""
        blob = git("hash-object", "-w", "policy.yaml")
        inner = _tree(f"100644 blob {blob}\tx")
        _commit(_tree(f"040000 tree {inner}\t..", literally=True))
        with pytest.raises(GitFailed, match="which is outside of it"):
            self.unpacked(tmp_path)

    @pytest.mark.usefixtures("checkout")
    def test_what_a_shallow_or_broken_checkout_lacks_is_told(self, tmp_path: Path) -> None:
        blob = git("rev-parse", "HEAD:policy.yaml")
        Path(f".git/objects/{blob[:2]}/{blob[2:]}").unlink()
        with pytest.raises(GitFailed, match="may be a shallow or partial one"):
            self.unpacked(tmp_path)

    @pytest.mark.usefixtures("checkout")
    def test_submodules_are_passed_over(self, tmp_path: Path) -> None:
        head = git("rev-parse", "HEAD")
        git("update-index", "--add", "--cacheinfo", f"160000,{head},sub")
        git("commit", "-q", "-m", "sub")
        assert sorted(path.name for path in self.unpacked(tmp_path).iterdir()) == ["policy.yaml"]


def _tree(entry: str, *, literally: bool = False) -> str:
    if not literally:
        done = subprocess.run(["git", "mktree"], input=f"{entry}\n", capture_output=True, text=True, check=True)
        return done.stdout.strip()
    mode, _, rest = entry.partition(" ")
    name = bytes.fromhex(rest.split()[1])
    data = f"{mode.lstrip('0')} {rest.split()[2]}\0".encode() + name
    done_ = subprocess.run(
        ["git", "hash-object", "-w", "-t", "tree", "--literally", "--stdin"],
        input=data,
        capture_output=True,
        check=True,
    )
    return done_.stdout.decode().strip()


def _commit(tree: str) -> None:
    git("update-ref", "HEAD", git("commit-tree", tree, "-m", "c"))
