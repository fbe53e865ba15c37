"""The page of the management API: its tables are the code's, and its program runs."""

import re
from pathlib import Path

import pytest
import structlog
from api_under_test import api_port, make_store
from pages import ROOT, blocks, sections, table
from server_under_test import Server
from structlog.testing import capture_logs

from exhook.api import api as api_module
from exhook.api.answer import Answer
from exhook.api.calls import CALLS
from exhook.settings import Settings
from store.account_records import AccessKey
from store.clock import now_ms
from store.database import Database
from store.key_material import secret_of
from store.records import Instance
from store.tables import IDENTITIES, PERMISSIONS

PAGE = ROOT / "docs" / "api.md"
TEXT = sections(PAGE)


def test_every_call_and_its_methods() -> None:
    rows = {row[0]: row[1] for row in table(TEXT["Calls"], "call")}
    assert rows == {call.name: ", ".join(sorted(call.methods)) for call in CALLS.values()}


def test_every_code_that_the_code_answers_with() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "exhook" / "api").glob("*.py"))
    used = set(re.findall(r'(?:Refusal|cls)\(\s*f?"([A-Z][\w.]+)[."{]', code))
    written = {name.strip(" `").partition("<")[0].rstrip(".")
               for row in table(TEXT["Errors"], "code") for name in row[0].split(",")}  # fmt: skip
    assert {name.rstrip(".") for name in used} == written


def test_the_rate_that_is_written() -> None:
    assert f"{Settings().api_rate:g} if not set" in TEXT["Rate limit"]


def test_fields_of_a_call_in_the_log() -> None:
    trace = api_module._Trace("127.0.0.1")
    trace.action, trace.access_key, trace.instance, trace.revision = "QueryToken", "AK", "mqtt-a", 1
    structlog.reset_defaults()
    with capture_logs() as lines:
        trace.end(Answer(400, b"", "InvalidParameter.Token"))
    written = table(sections(ROOT / "docs" / "operating.md")["Calls of the API"], "field")
    fields = {name.strip(" `") for row in written for name in row[0].split(",")}
    assert fields == lines[0].keys() - {"event", "log_level"}


def test_the_program_of_the_page_runs(tmp_path: Path) -> None:
    (program,) = blocks(PAGE, "python")
    store = make_store(tmp_path / "exhook.db")
    with Database.open(store.path, store.keys) as database:
        secrets = (secret_of(database, b"the secret of AKbackend"),)
        with database.writing(actor="test", source="plant", now_ms=now_ms()) as write:
            write.put(Instance(name="mqtt-prod"))
            write.put(
                AccessKey(access_key_id="AKbackend", secrets=secrets, instances=("mqtt-prod",), calls=tuple(CALLS))
            )
    with Server(tmp_path, "--api", "127.0.0.1:0") as server:
        exec(program.text.replace(":8080", f":{api_port(server)}"), {})  # noqa: S102 - the page's own program
    with Database.open(store.path, store.keys) as database:
        assert [identity.username for identity in database.records(IDENTITIES)] == ["meters"]
        assert "meters/${clientid}/up" in [permission.topic for permission in database.records(PERMISSIONS)]


@pytest.mark.parametrize("limit", ["256 KiB", "64 KiB", "ten seconds", "1,000 connections", "4,096 characters"])
def test_limits_that_are_written(limit: str) -> None:
    from exhook.api import http, parameters, protocol  # noqa: PLC0415 - named below

    meant = {
        "256 KiB": http.BODY_BYTES == 256 * 1024,
        "64 KiB": protocol.HEAD_BYTES == 64 * 1024,
        "ten seconds": protocol.HEAD_SECONDS == http.BODY_SECONDS == 10.0,
        "1,000 connections": protocol.MOST_CONNECTIONS == 1_000,
        "4,096 characters": parameters.MOST_CHARS == 4096,
    }
    assert meant[limit]
    assert limit in TEXT["Rate limit"]
