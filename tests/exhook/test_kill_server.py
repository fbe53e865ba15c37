"""kill -9 of the whole server, and of who else writes, at any moment: the store stands at a whole revision."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from server_under_test import Asker, Server
from worker_under_test import INSTANCE

from store.database import Database
from store.seal import SealKeys
from store.tables import PERMISSIONS

ROUNDS = 6
RECORDS = 100
SOURCES = ("server", "writer")
WRITER = """
import itertools, sys
from pathlib import Path
from store.seal import SealKeys
from store.sync.apply import apply_policy
from store.sync.references import SecretSources
from store.unavailable import StoreUnavailable

db, *files = map(Path, sys.argv[1:])
for file in itertools.cycle(files):
    try:
        apply_policy(db, SealKeys(), [file], SecretSources({"EXHOOK_SECRET_X": "right"}, None))
    except StoreUnavailable as error:
        if "locked" not in str(error):
            raise
"""


def policy(source: str, note: str) -> str:
    """Records that all say the same: a store between two revisions would hold both notes."""
    topics = "\n".join(
        f'  - {{username: {source}, publish: ["{source}/{number}"], note: {note}}}' for number in range(RECORDS)
    )
    return f"""\
format: exhook/v1
source: {source}
defaults: {{instance: {INSTANCE}-{source}}}
identities:
  - {{username: {source}, sign_mode: origin, secret: {{env: EXHOOK_SECRET_X}}, note: {note}}}
permissions:
{topics}
"""


def test_the_store_is_whole_after_any_kill(tmp_path: Path) -> None:
    moments = random.Random(20_260_801)  # noqa: S311 - where to kill is no secret
    for number in range(ROUNDS):
        before = _check_whole(tmp_path / "exhook.db")
        if number % 2:
            _kill_while_all_write(tmp_path, number, serving=False, seconds=moments.uniform(0.3, 1.2))
        else:
            _kill_while_all_write(tmp_path, number, serving=True, seconds=moments.uniform(0.0, 0.8))
            assert _check_whole(tmp_path / "exhook.db") > before
    _a_new_server_serves(tmp_path)


def _kill_while_all_write(folder: Path, number: int, *, serving: bool, seconds: float) -> None:
    """Kill the server and another writer at one moment, so long after the start or after the server serves."""
    files = [folder / f"{note}.yaml" for note in ("left", "right")]
    for file in files:
        file.write_text(policy("writer", file.stem))
    writer = subprocess.Popen([sys.executable, "-c", WRITER, folder / "exhook.db", *files])
    try:
        server = _server(folder, note=f"round-{number}")
        if serving:
            server.line("serving")
            (folder / "server.yaml").write_text(policy("server", f"served-{number}"))
        time.sleep(seconds)
        assert writer.poll() is None
    finally:
        writer.kill()
        server.kill_all()
        writer.wait()


def _server(folder: Path, note: str) -> Server:
    (folder / "server.yaml").write_text(policy("server", note))
    arguments = ("--policy", str(folder / "server.yaml"), "--instance", f"{INSTANCE}-server")
    return Server(folder, *arguments, EXHOOK_SECRET_X="right")


def _check_whole(db: Path) -> int:
    """The store opens, and each of its revisions is there as a whole; the last one."""
    if not db.exists():
        return 0
    with Database.open(db, SealKeys(), create=False) as database:
        assert [row[0] for row in database.connection.execute("PRAGMA integrity_check")] == ["ok"]
        assert not database.connection.execute("PRAGMA foreign_key_check").fetchall()
        notes = {source: Counter(one.note for one in database.records(PERMISSIONS, source)) for source in SOURCES}
        assert all(count in ({}, {note: RECORDS}) for count in notes.values() for note in count), notes
        logged = database.connection.execute(
            "SELECT revision, added + changed + removed + expired, (SELECT count(*) FROM changes"
            " WHERE changes.revision = revisions.revision) FROM revisions ORDER BY revision"
        ).fetchall()
        assert [row[0] for row in logged] == list(range(1, len(logged) + 1))
        assert all(told == written for _, told, written in logged)
        return database.revision


def _a_new_server_serves(folder: Path) -> None:
    with _server(folder, note="last") as server, Asker(server.port) as broker:
        assert broker.connects("c", "server", b"right")
        assert broker.publishes("c", "server", f"server/{RECORDS - 1}")
        assert not broker.publishes("c", "server", f"server/{RECORDS}")
