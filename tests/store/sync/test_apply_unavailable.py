"""Two writers at once, a locked, a full, a read-only store: told clearly, and nothing lost."""

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from stores_under_test import Store, instance

from store.sync.apply import apply_policy
from store.unavailable import StoreUnavailable

ONE = "identities: [{username: u, sign_mode: origin, secret: {literal: one}}]\n"
TWO = "identities: [{username: u, sign_mode: origin, secret: {literal: two}}]\n"
HASHED = "identities: [{username: u, sign_mode: hashed, secret: {literal: one}}]\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def test_two_at_once_both_get_there(store: Store) -> None:
    store.apply(ONE)
    documents = [
        store.write(f"source: s{number}\nblacklist: [{{client_id: c}}]\n", f"{number}.yaml") for number in (1, 2)
    ]
    begun = threading.Barrier(2)
    errors: list[BaseException] = []

    def run(document: Path) -> None:
        begun.wait()
        try:
            apply_policy(store.path, store.keys, [document], store.sources)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(document,)) for document in documents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.revision == 3
    assert sum(key[0] == "blacklist" for key in store.contents()) == 2


def test_of_two_with_the_same_policy_one_finds_it_done(store: Store) -> None:
    """The second one waits for the first, and plans anew when it holds the lock."""
    store.put(instance())
    document = store.write(HASHED)
    begun = threading.Barrier(2)
    results: list[bool] = []

    def run() -> None:
        begun.wait()
        results.append(apply_policy(store.path, store.keys, [document], store.sources).changed)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.revision == 2
    assert sorted(results) == [False, True]


def test_a_locked_store_is_told_after_a_while(store: Store) -> None:
    store.apply(ONE)
    with store.open() as other, other.transaction(), pytest.raises(StoreUnavailable, match="locked by another writer"):
        store.apply(TWO)
    assert store.secrets("u")[0].value == b"one"


def test_a_store_that_cannot_be_made_is_told(store: Store) -> None:
    store.path = store.folder / "nowhere" / "exhook.db"
    with pytest.raises(StoreUnavailable, match="see that its folder exists"):
        store.apply(ONE)


FULL_DISK = """
import resource, sys
from pathlib import Path
from typing import Any
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.references import SecretSources
path, document, limit = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    apply_policy(path, SealKeys(), [document], SecretSources({}, None))
except BaseException as error:
    print(type(error).__name__, error)
"""


def test_a_full_disk_leaves_the_store_whole(store: Store) -> None:
    store.apply(ONE)
    before = store.contents()
    text = "blacklist:\n" + "".join(f"  - {{client_id: c{number}}}\n" for number in range(5000))
    document = store.write(text, "large.yaml")
    said = subprocess.run(
        [sys.executable, "-c", FULL_DISK, store.path, document, "300000"], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith(f"StoreUnavailable {store.path}: cannot ")
    assert "nothing was written" in said
    assert store.contents() == before
    with store.open() as database:
        assert database.connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


@pytest.mark.parametrize(("folder_mode", "sentence"), [(0o777, "is read-only; give its user"), (0o555, "its user")])
def test_a_store_that_may_not_be_written_is_told(folder_mode: int, sentence: str) -> None:
    """As a user who is not root, to whom no file is read-only."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        store.apply(ONE)
        store.path.chmod(0o444)
        document = store.write(TWO)
        Path(folder).chmod(folder_mode)
        said = as_nobody(lambda: apply_policy(store.path, store.keys, [document], store.sources, busy_ms=200))
        Path(folder).chmod(0o700)
        assert said.startswith(f"StoreUnavailable {store.path}: ")
        assert sentence in said
        store.path.chmod(0o600)
        assert store.secrets("u")[0].value == b"one"


def as_nobody(work: Callable[[], object]) -> str:
    """What another user's process says of the exception that some work ends with."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            work()
            os.write(writing, b"nothing")
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            os.write(writing, f"{type(error).__name__} {error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()
