"""Nonces in the runtime file: each once, for as long as it counts, for every process."""

from pathlib import Path

from store.nonces import PURGE_MS, SpentNonces
from store.runtime import Runtime

NOW = 1_800_000_000_000


def test_each_once_also_within_one_batch_and_for_another_process(tmp_path: Path) -> None:
    with Runtime.open(tmp_path / "exhook.db") as one, Runtime.open(tmp_path / "exhook.db") as two:
        assert SpentNonces(one).spend([(b"a", NOW + 1), (b"b", NOW + 1), (b"a", NOW + 1)], NOW) == [True, True, False]
        assert SpentNonces(two).spend([(b"b", NOW + 1), (b"c", NOW + 1)], NOW) == [False, True]
    with Runtime.open(tmp_path / "exhook.db") as later:
        assert SpentNonces(later).spend([(b"c", NOW + 1)], NOW) == [False]


def test_what_had_its_time_is_removed_and_no_sooner(tmp_path: Path) -> None:
    with Runtime.open(tmp_path / "exhook.db") as runtime:
        nonces = SpentNonces(runtime)
        nonces.spend([(b"short", NOW + 10), (b"long", NOW + PURGE_MS + 1)], NOW)
        nonces.spend([], NOW + PURGE_MS)
        kept = [row[0] for row in runtime.connection.execute("SELECT nonce FROM nonces")]
        assert kept == [b"long"]
        nonces.spend([], NOW + PURGE_MS + 2)  # not looked at again so soon
        assert nonces.spend([(b"long", NOW + PURGE_MS + 1)], NOW + PURGE_MS + 1) == [False]
