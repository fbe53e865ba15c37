"""The load of nghttp2's h2load, which knows nothing of this project; on Debian `nghttp2-client` brings it.

It repeats one body: what it shows is the carrier, and one client's decision.
"""

import re
import subprocess
from pathlib import Path
from typing import Final

from frames import headers, message
from load import CONNECTIONS, Load
from machine import cpu_seconds
from questions import Question
from servers import Server
from tables import WrongAnswer

PROGRAM: Final = "h2load"
PACKAGE: Final = "nghttp2-client"
_TRY: Final = 2_000
"""Calls that show how many make up the time that is wanted."""


def press(server: Server, question: Question, streams: int, seconds: float, folder: Path) -> Load:
    """Keep `streams` calls of each connection under way for about so long.

    Raises:
        WrongAnswer: not every call was answered by a message as long as the right one.
    """
    rate = _press(server, question, streams, _TRY, folder).calls_per_second
    return _press(server, question, streams, max(_TRY, round(rate * seconds)), folder)


def _press(server: Server, question: Question, streams: int, calls: int, folder: Path) -> Load:
    body, log = folder / "body", folder / "log"
    body.write_bytes(message(question.message))
    log.unlink(missing_ok=True)
    command = [PROGRAM, "-n", str(calls), "-c", str(CONNECTIONS), "-m", str(streams), "-d", str(body)]
    command += [part for name, value in headers(question.path).items() for part in ("-H", f"{name}: {value}")]
    if streams == 1:
        # A line a call: too much beside the load of many streams.
        command += [f"--log-file={log}"]
    before = sum(map(cpu_seconds, server.all_pids))
    said = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{question.path}"], capture_output=True, text=True, check=True
    ).stdout
    cpu = sum(map(cpu_seconds, server.all_pids)) - before
    right = calls * len(message(question.answer))
    if f"{calls} succeeded, 0 failed" not in said or f"({right}) data" not in said:
        raise WrongAnswer(f"{server.name}, asked by {PROGRAM}: {said}")
    rate = re.search(r"finished in .*, ([0-9.]+) req/s", said)
    assert rate, said
    lines = log.read_text().splitlines() if streams == 1 else []
    latencies = tuple(int(line.split()[2]) / 1e6 for line in lines)
    return Load(float(rate[1]), cpu / calls * 1e6, latencies, calls)
