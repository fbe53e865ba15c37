"""What dead processes counted is kept in one set of files, and the sums stay as they are."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry
from server_under_test import samples

from exhook import counting_files
from exhook.counting_files import FOLDER_VARIABLE, Counted, retire

# A process of its own, since the library chooses where to count when it is loaded.
COUNT = """
import os, sys, time
from exhook import metrics
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
number = int(sys.argv[1])
Counter("c", "c", ["l"]).labels(str(number % 2)).inc(number)
Gauge("newest", "g", multiprocess_mode="mostrecent").set(number)
Gauge("most", "g", multiprocess_mode="max").set(10 - number)
Gauge("living", "g", multiprocess_mode="livemax").set(number)
histogram = Histogram("h", "h", buckets=(1, 2, 5))
for each in range(number):
    histogram.observe(each)
print(os.getpid())
"""


def counted(folder: Path, number: int) -> int:
    """The number of a process that counted."""
    made = subprocess.run(
        [sys.executable, "-c", COUNT, str(number)],
        env={FOLDER_VARIABLE: str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(made.stdout)


def sums(folder: Path) -> dict[str, float]:
    from prometheus_client import generate_latest  # noqa: PLC0415 - beside its use

    registry = CollectorRegistry()
    Counted(registry, str(folder))  # type: ignore[no-untyped-call] # untyped in the library
    return samples(generate_latest(registry).decode())


@pytest.fixture(scope="module")
def pids(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    folder = tmp_path_factory.mktemp("counts")
    return folder, [counted(folder, number) for number in (1, 2, 3)]


def test_a_file_that_is_just_being_made(tmp_path: Path) -> None:
    counted(tmp_path, 3)
    before = sums(tmp_path)
    assert before["h_count"] == 3
    (tmp_path / "counter_1.db").touch()
    assert sums(tmp_path) == before


def test_sums_stay_and_files_go(pids: tuple[Path, list[int]]) -> None:
    folder, (first, second, third) = pids
    before = sums(folder)
    assert before["h_count"] == 6
    assert before["living"] == 3
    retire(first, folder)
    assert sums(folder) == before
    retire(second, folder)
    assert sums(folder) == before
    retire(third, folder)
    assert sums(folder) == {name: value for name, value in before.items() if name in sums(folder)}
    assert before.keys() - sums(folder).keys() >= {"living"}
    assert before["newest"] == 3
    assert before["most"] == 9
    left = sorted(file.name for file in folder.iterdir())
    assert left == [f"{kind}_retired.db" for kind in ("counter", "gauge_max", "gauge_mostrecent", "histogram")]


def test_what_was_written_in_part_does_not_stay(tmp_path: Path) -> None:
    broken = tmp_path / "counter_17.db"
    whole = json.dumps(["c_total", "c_total", {}, "c"]).encode()
    broken.write_bytes((200).to_bytes(8, "little") + (1000).to_bytes(4, "little") + whole + bytes(300))
    retire(17, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["counter_retired.db"]
    assert sums(tmp_path) == {}


def test_what_cannot_be_moved_stays_and_is_counted_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For want of descriptors, say: who retires a process is about to start another, which must not fail by it."""
    pid = counted(tmp_path, 3)
    before, files = sums(tmp_path), sorted(tmp_path.iterdir())

    def none_left(_: str) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with structlog.testing.capture_logs() as lines, monkeypatch.context() as short:
        short.setattr(counting_files, "MmapedDict", none_left)
        retire(pid, tmp_path)
    assert [line["event"] for line in lines] == ["what a process counted stays in files of its own"]
    assert (sums(tmp_path), sorted(tmp_path.iterdir())) == (before, files)


def test_where_a_process_counts_for_itself_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    retire(1)
