"""A writer to be killed: each revision rewrites the same permissions, all with the revision as their note.

Run with the path of a store; for each line on standard input it forks a process that says its
number after the first revision, and writes until it is killed.
"""

import os
import sys
from pathlib import Path

from records_under_test import NOW, allow, client, group, instance, user

from store.changes import Operation
from store.database import Database
from store.records import Grantee, Record
from store.seal import SealKeys

GROUP, CLIENT_ID, USERNAME = "GID_Press", "GID_Press@@@0001", "u"
GRANTEES = (
    (Grantee.USER, USERNAME),
    (Grantee.CLIENT, CLIENT_ID),
    (Grantee.GROUP, GROUP),
    (Grantee.ALL, ""),
)
TOPICS = tuple(f"t/{number}" for number in range(12))


def records(revision: int) -> list[Record]:
    """What must stand in the store together."""
    note = str(revision)
    return [
        instance(note=note),
        group(GROUP, note=note),
        user(USERNAME, f"secret {note}", note=note),
        client(USERNAME, CLIENT_ID, f"secret {note}", note=note),
        *(allow(topic, to=to, note=note) for topic in TOPICS for to in GRANTEES),
    ]


def write_one(database: Database) -> None:
    with database.writing(actor="writer", source="api", now_ms=NOW) as write:
        for record in records(write.revision):
            assert write.put(record) in (Operation.ADD, Operation.CHANGE)


def _serve(path: Path) -> None:
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            with Database.open(path, SealKeys()) as database:
                write_one(database)
                print(os.getpid(), flush=True)  # noqa: T201
                while True:
                    write_one(database)
        os.waitpid(pid, 0)
        print("dead", flush=True)  # noqa: T201


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
