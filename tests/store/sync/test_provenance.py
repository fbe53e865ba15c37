"""The git commit that a policy is at, where it is at one."""

import subprocess
from pathlib import Path

import pytest
from stores_under_test import Store

from store.changes import revisions
from store.sync.apply import apply_policy
from store.tables import IDENTITIES

ONE = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"
TWO = "identities: [{username: u, sign_mode: origin, secret: {literal: two}}]\n"
HASHED = "identities: [{username: u, sign_mode: hashed, secret: {literal: one}}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder, capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip


class TestCommit:
    @pytest.fixture
    def checkout(self, store: Store) -> Store:
        git(store.folder, "init", "-q")
        store.write(ONE)
        git(store.folder, "add", "policy.yaml")
        git(store.folder, "commit", "-q", "-m", "policy")
        return store

    def origin(self, store: Store) -> str:
        with store.open() as database:
            return next(record.origin for _, record in database.contents(IDENTITIES))

    def test_a_committed_policy_names_its_commit(self, checkout: Store) -> None:
        head = git(checkout.folder, "rev-parse", "--short", "HEAD")
        assert checkout.apply(ONE).commit == head
        with checkout.open() as database:
            assert revisions(database.connection)[0].commit == head
        assert self.origin(checkout) == f"{checkout.folder}/policy.yaml:2@{head}"

    def test_a_changed_one_does_not(self, checkout: Store) -> None:
        assert checkout.apply(TWO).commit == ""
        assert self.origin(checkout).endswith("policy.yaml:2")

    def test_nor_one_that_includes_a_changed_file(self, checkout: Store) -> None:
        text = "include: [{blacklist: rows.jsonl}]\n"
        checkout.write(text)
        rows = checkout.folder / "rows.jsonl"
        rows.write_text('{"client_id": "a"}\n')
        git(checkout.folder, "add", "-A")
        git(checkout.folder, "commit", "-q", "-m", "rows")
        assert checkout.apply(text).commit == git(checkout.folder, "rev-parse", "--short", "HEAD")
        rows.write_text('{"client_id": "b"}\n')
        assert checkout.apply(text).commit == ""
        with checkout.open() as database:
            assert revisions(database.connection)[0].commit == ""

    def test_nor_one_that_git_does_not_know(self, checkout: Store) -> None:
        document = checkout.write(ONE, "other.yaml")
        (checkout.folder / ".gitignore").write_text("other.yaml\n")
        assert apply_policy(checkout.path, checkout.keys, [document], checkout.sources).commit == ""

    def test_other_files_may_be_changed(self, checkout: Store) -> None:
        (checkout.folder / "notes.txt").write_text("x")
        assert apply_policy(checkout.path, checkout.keys, [checkout.folder], checkout.sources).commit != ""

    def test_of_a_folder_every_policy_file_must_be_committed(self, checkout: Store) -> None:
        checkout.write("blacklist: [{client_id: c}]\n", "more.yaml")
        assert apply_policy(checkout.path, checkout.keys, [checkout.folder], checkout.sources).commit == ""

    @pytest.mark.parametrize("whole", [True, False])
    def test_what_a_link_leads_to_is_not_in_the_commit(self, checkout: Store, *, whole: bool) -> None:
        (checkout.folder / "elsewhere.txt").write_text("format: exhook/v1\nblacklist: [{client_id: c}]\n")
        link = checkout.folder / "link.yaml"
        link.symlink_to("elsewhere.txt")
        git(checkout.folder, "add", "link.yaml")
        git(checkout.folder, "commit", "-q", "-m", "link")
        named = checkout.folder if whole else link
        assert apply_policy(checkout.path, checkout.keys, [named], checkout.sources).commit == ""

    def test_a_name_is_no_pattern_and_no_option(self, checkout: Store) -> None:
        document = checkout.write("blacklist: [{client_id: c}]\n", "-*.yaml")
        assert apply_policy(checkout.path, checkout.keys, [document], checkout.sources).commit == ""

    def test_without_git_nothing_is_said(self, checkout: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(checkout.folder))
        assert checkout.apply(ONE).commit == ""
