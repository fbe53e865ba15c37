"""`exhook seal-key`: keys are made for their owner alone, and exchanged while servers go on reading."""

import base64
import stat
from contextlib import closing
from pathlib import Path

import pytest
from commands_under_test import Exhook
from worker_under_test import INSTANCE, Serve, Store, identity, instance, permission

from store.database import Database
from store.reader import Reader
from store.records import SignMode
from store.seal import SealError, SealKeys, new_key
from store.tables import IDENTITIES
from store.view import Client, Listener

CANARY = b"canary-sealed-secret"


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def lines(file: Path) -> list[str]:
    return file.read_text(encoding="ascii").splitlines()


def keys(file: Path) -> SealKeys:
    return SealKeys.from_environment({}, file)


def bytes_of_store(path: Path) -> bytes:
    """Everything of a store that is on the disk."""
    return b"".join(file.read_bytes() for file in path.parent.glob(f"{path.stem}*") if file.is_file())


class TestNew:
    def test_a_key_for_its_owner_alone(self, exhook: Exhook, tmp_path: Path) -> None:
        said = exhook("seal-key", "new", "exhook.key")
        file = tmp_path / "exhook.key"
        (key,) = lines(file)
        assert (said.code, said.err) == (0, "")
        assert key not in said.out
        assert said.out == "a new key is the first in exhook.key; keep a copy apart from the store\n"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert len(base64.b64decode(key, validate=True)) == 32
        assert [found.name for found in tmp_path.iterdir()] == ["exhook.key"]

    def test_a_second_one_comes_first_and_the_old_ones_stay(self, exhook: Exhook, tmp_path: Path) -> None:
        file = tmp_path / "exhook.key"
        exhook("seal-key", "new", "exhook.key")
        (first,) = lines(file)
        file.chmod(0o644)
        file.write_text(f"# since spring\n{first}")  # no newline at the end
        assert exhook("seal-key", "new", "exhook.key").code == 0
        new, *old = lines(file)
        assert old == ["# since spring", first]
        assert new != first
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert keys(file).primary == SealKeys.from_text(new, "test").primary
        assert len(keys(file).ids) == 2

    def test_what_is_no_key_file_is_left_alone(self, exhook: Exhook, tmp_path: Path) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("canary: my other secret\n")
        said = exhook("seal-key", "new", "notes.txt")
        assert (said.code, said.out) == (8, "")
        assert said.err.startswith("notes.txt:1: no seal key; a key is base64 of 32 bytes")
        assert "canary" not in said.err
        assert file.read_text() == "canary: my other secret\n"

    def test_no_such_folder(self, exhook: Exhook) -> None:
        said = exhook("seal-key", "new", "nowhere/exhook.key")
        assert (said.code, said.out) == (64, "")
        assert "cannot be made (No such file or directory); name a file in a folder you may write to" in said.err

    def test_a_folder_is_no_file(self, exhook: Exhook, tmp_path: Path) -> None:
        (tmp_path / "keys").mkdir()
        said = exhook("seal-key", "new", "keys")
        assert said.code == 8
        assert said.err == "keys: cannot be read as a seal key file (Is a directory)\n"


class TestRotate:
    @pytest.fixture
    def sealed(self, exhook: Exhook, tmp_path: Path) -> Store:
        """A store sealed under the one key of `exhook.key`."""
        exhook("seal-key", "new", "exhook.key")
        store = Store(tmp_path / "exhook.db", keys(tmp_path / "exhook.key"))
        store.put(instance(), identity("sensors", CANARY, mode=SignMode.SIGNED), permission("sensors", "a/#"))
        return store

    def test_old_servers_read_on_and_the_old_key_may_go(self, exhook: Exhook, sealed: Store, tmp_path: Path) -> None:
        file = tmp_path / "exhook.key"
        (first,) = lines(file)
        exhook("seal-key", "new", "exhook.key")
        both = keys(file)
        with closing(Reader(sealed.path, both)) as old_server:
            said = exhook("seal-key", "rotate", "--seal-key-file", "exhook.key")
            assert (said.code, said.err) == (0, "")
            assert said.out == f"sealed 1 secrets under key {both.primary}\n"
            old_server.poll()
            assert _secret_of(old_server) == CANARY
        file.write_text(lines(file)[0])
        with closing(Reader(sealed.path, keys(file))) as new_server:
            assert _secret_of(new_server) == CANARY
        with pytest.raises(SealError, match="is not at hand"):
            Reader(sealed.path, SealKeys.from_text(first, "test"))
        assert CANARY not in bytes_of_store(sealed.path)

    async def test_a_running_server_with_both_keys_goes_on(
        self, exhook: Exhook, serve: Serve, store: Store, tmp_path: Path
    ) -> None:
        file = tmp_path / "two.key"
        file.write_text(f"{new_key()}\n{new_key()}\n")
        store.path, store.keys = tmp_path / "served.db", SealKeys.from_text(lines(file)[1], "test")
        store.put(instance(), identity("alice", b"right"))
        store.keys = keys(file)
        async with serve() as served:
            assert await served.authenticate("c", "alice", b"right")
            assert exhook("seal-key", "rotate", "--db", "served.db", "--seal-key-file", "two.key").code == 0
            store.put(identity("bob", b"right"))
            served.worker.reader.poll()
            for username in ("alice", "bob"):
                assert await served.authenticate("d", username, b"right")
                assert not await served.authenticate("d", username, b"wrong")

    def test_a_store_in_the_clear_becomes_a_sealed_one(self, exhook: Exhook, tmp_path: Path) -> None:
        store = Store(tmp_path / "exhook.db")
        store.put(instance(), identity("alice", CANARY), identity("sensors", b"key", mode=SignMode.SIGNED))
        assert CANARY in bytes_of_store(store.path)
        exhook("seal-key", "new", "exhook.key")
        assert exhook("seal-key", "rotate", "--seal-key-file", "exhook.key").out.startswith("sealed 2 secrets under")
        with Database.open(store.path, keys(tmp_path / "exhook.key")) as database:
            assert database.sealed_under == (keys(tmp_path / "exhook.key").primary,)
            found = {one.username: one.secrets[0].value for one in database.records(IDENTITIES)}
            assert found == {"alice": CANARY, "sensors": b"key"}
        with pytest.raises(SealError):
            Reader(store.path, SealKeys())

    def test_rotating_twice_changes_nothing(self, exhook: Exhook, sealed: Store) -> None:
        for _ in range(2):
            assert exhook("seal-key", "rotate", EXHOOK_SEAL_KEY_FILE="exhook.key").code == 0
        with closing(Reader(sealed.path, sealed.keys)) as reader:
            assert _secret_of(reader) == CANARY
            assert reader.revision == 1

    def test_without_the_old_key_nothing_is_done(self, exhook: Exhook, sealed: Store, tmp_path: Path) -> None:
        before = sealed.path.read_bytes()
        (tmp_path / "other.key").write_text(new_key())
        said = exhook("seal-key", "rotate", "--seal-key-file", "other.key")
        assert (said.code, said.out) == (8, "")
        assert said.err == (
            f"exhook.db: secrets are sealed under key {sealed.keys.primary}, which is not at hand; "
            "give the file that holds it by --seal-key-file or EXHOOK_SEAL_KEY_FILE\n"
        )
        assert sealed.path.read_bytes() == before

    def test_without_any_key(self, exhook: Exhook, tmp_path: Path) -> None:
        Store(tmp_path / "exhook.db").put(instance())
        said = exhook("seal-key", "rotate")
        assert (said.code, said.out) == (64, "")
        assert said.err == "no seal key is given; name its file by --seal-key-file or EXHOOK_SEAL_KEY_FILE\n"

    def test_without_a_key_file_or_a_store(self, exhook: Exhook, tmp_path: Path) -> None:
        said = exhook("seal-key", "rotate", "--seal-key-file", "absent.key")
        assert (said.code, said.err) == (
            8,
            "absent.key: cannot be read as a seal key file (No such file or directory)\n",
        )
        exhook("seal-key", "new", "exhook.key")
        said = exhook("seal-key", "rotate", "--seal-key-file", "exhook.key")
        assert said.code == 8
        assert said.err.startswith("exhook.db: there is no store; ")
        assert not (tmp_path / "exhook.db").exists()


def _secret_of(reader: Reader) -> bytes:
    user = reader.view(INSTANCE, Client("sensors", "c", Listener("default", INSTANCE))).user
    assert user is not None
    return user.secrets[0].value
