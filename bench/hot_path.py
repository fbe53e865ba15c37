"""What one call costs by carrier: no-op servers and exhook in turn, against gRPC's C++ callback server where it builds.

`python bench/hot_path.py [--rounds N] [--seconds S] [--records N] [--json FILE]` prints Markdown tables. Linux alone.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from carrier import carrying, kinds
from filling import fill, make_keys
from machine import describe, load_core, pinned, server_core
from questions import AUTHORIZE, Question
from servers import Server, callback, exhook, noop
from tables import Table, WrongAnswer
from yardstick import build

ASKED = "authorize, allowed"
CHECKED = 50
"""Calls that a real gRPC client makes to each server before it is measured."""


def run(records: int, rounds: int, seconds: float) -> list[Table]:
    """All tables.

    Raises:
        WrongAnswer: a server does not answer right.
    """
    questions = {ASKED: kinds(records)[ASKED]}
    with TemporaryDirectory(prefix="exhook-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        keys, key_file = make_keys(folder)
        stores = {carrier: folder / f"{carrier}.db" for carrier in ("grpc", "h2")}
        fill(stores["grpc"], keys, records)
        # One each: workers find their names in the runtime file beside it.
        shutil.copyfile(stores["grpc"], stores["h2"])
        core = server_core()
        yardstick = build()
        servers = [stack.enter_context(callback(yardstick, core=core))] if yardstick else []
        servers += [stack.enter_context(noop(kind, core=core)) for kind in ("aio", "grpc", "h2")]
        servers += [
            stack.enter_context(exhook(store, key_file, cores=(core,), carrier=carrier))
            for carrier, store in stores.items()
        ]
        checked = sum(check(server, questions[ASKED][:CHECKED]) for server in servers)
        table = carrying(servers, questions, rounds, seconds)
        table.title = "The hot path, by carrier"
        table.answers += checked
        tables = [table]
        if shutil.which("h2load"):
            tables.append(others(servers, questions[ASKED][0], folder))
        return tables


def check(server: Server, questions: Sequence[Question]) -> int:
    """Ask by grpcio, as any client does; how many answers were right.

    Raises:
        WrongAnswer: one was not.
    """
    decides = server.name.startswith("exhook")
    with grpc.insecure_channel(f"127.0.0.1:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        for question in questions:
            answer = channel.unary_unary(question.path, None, None)(question.message, timeout=20.0)
            if decides and answer != question.answer:
                raise WrongAnswer(f"{server.name} answered {answer!r} to {question}")
    return len(questions)


def others(servers: Sequence[Server], question: Question, folder: Path) -> Table:
    """The same by nghttp2's load generator, which knows nothing of this project."""
    table = Table("By h2load", ("server", "calls/s"), "8 connections of 32 calls at once, one body, 20,000 calls.")
    body = folder / "body"
    body.write_bytes(b"\0" + len(question.message).to_bytes(4) + question.message)
    load = ["-n", "20000", "-c", "8", "-m", "32", "-d", str(body), "-H", "content-type: application/grpc+proto"]
    load += ["-H", "te: trailers", "-H", "grpc-timeout: 5S", "-H", "user-agent: grpc-erlang/0.1.0"]
    for server in servers:
        if server.name in {"no-op, grpc.aio", "no-op, carrier grpc", "exhook, grpc"}:
            continue  # half a minute each, and the table above has them
        with pinned(load_core()):
            said = subprocess.run(
                ["h2load", *load, f"http://127.0.0.1:{server.port}{AUTHORIZE}"],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        if "20000 succeeded, 0 failed" not in said:
            raise WrongAnswer(f"{server.name}, asked by h2load: {said}")
        (rate,) = (word for word in said.partition("finished in ")[2].split(", ") if word.endswith(" req/s"))
        table.answers += 20_000
        table.add(server.name, float(rate.removesuffix(" req/s")))
    return table


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.8, help="length of one run")
    parser.add_argument("--records", type=int, default=100_000, help="identities in the store, and as many permissions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    asked = parser.parse_args(arguments)
    machine = describe()
    tables = run(asked.records, asked.rounds, asked.seconds)
    print(f"# The hot path\n\n{machine}\n")
    for table in tables:
        print(table.markdown())
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, "tables": [table.as_json() for table in tables]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
