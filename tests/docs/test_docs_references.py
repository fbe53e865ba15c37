"""The tables of the documentation say what the code says."""

import itertools
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
import structlog
from pages import ROOT, prose, sections, table
from prometheus_client import Counter, Gauge, Histogram
from structlog.testing import capture_logs

from exhook import metrics
from exhook.cli import app as exhook_app
from exhook.demo.script import SCRIPT
from exhook.logs import DecisionLog, decision_fields
from exhook.settings import FILE_ALONE, RESTART_ONLY, Settings
from exhook.settings_reference import WITHOUT_FLAG, markdown
from store import hashes
from store.credentials import sign
from store.decision import Decision, Nearest, Reason
from store.placeholders import NAMES
from store.records import Identity, IdentityType, Secret, SignMode
from store.sync import case_entry, include, schema
from store.sync.cli import app as sync_app
from store.sync.entries import SIGN_MODES
from store.sync.exit_codes import ExitCode
from store.sync.files import MAX_ROWS_BYTES
from store.sync.included import MAX_MISTAKES
from store.sync.late import whole
from store.sync.lint_off import RULES
from store.sync.source import MAX_DEPTH, MAX_EXPANDED, MAX_EXPANSION
from store.sync.syntax import MAX_BYTES
from store.topics import covers, overlaps
from store.view import Client, Listener

DOCS: Final = ROOT / "docs"
SEMANTICS: Final = sections(DOCS / "semantics.md")
POLICY_FILE: Final = sections(DOCS / "policy-file.md")
COMMANDS: Final = sections(DOCS / "commands.md")
OPERATING: Final = sections(DOCS / "operating.md")

MODELS: Final[Mapping[str, type[schema.Entry]]] = {
    "The file": schema.PolicyFile,
    "defaults": schema.Defaults,
    "sync": schema.Sync,
    "limits": schema.Limits,
    "instances": schema.InstanceEntry,
    "groups": schema.GroupEntry,
    "identities": schema.IdentityEntry,
    "access_keys": schema.AccessKeyEntry,
    "device_credentials": schema.DeviceCredentialEntry,
    "client_ids": schema.ClientIds,
    "secrets": schema.SecretEntry,
    "permissions": schema.PermissionBlock,
    "deny": schema.Actions,
    "blacklist": schema.BlacklistEntry,
    "matrix": case_entry.Matrix,
    "Lint": schema.OffEntry,
    "roles": schema.RoleEntry,
}
COLUMNS: Final[Mapping[str, type[include.RemarkColumns]]] = {
    "identities": include.IdentityColumns,
    "permissions": include.PermissionColumns,
    "blacklist": include.BlacklistColumns,
}


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, sub in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {below}", sub)


CLI: Final = dict(
    itertools.chain(
        _commands("exhook", whole(exhook_app)),
        _commands("exhook-sync", whole(sync_app)),
    )
)


def test_every_reason_stands_in_the_table_and_no_other() -> None:
    assert [row[0] for row in table(SEMANTICS["Reasons"], "reason")] == [reason.value for reason in Reason]


DENIED: Final = [reason.value for reason in Reason if reason is not Reason.ALLOWED]
WHY: Final = sections(DOCS / "troubleshooting.md")


def test_the_page_of_denials_starts_from_every_reason() -> None:
    title, *headings = WHY
    assert title == "Why was my client denied?"
    assert sorted(set(headings) & {reason.value for reason in Reason}) == sorted(DENIED)
    rows = table(WHY[title], "reason")
    assert [row[0] for row in rows] == [f"[`{name}`](#{name})" for name in headings if name in DENIED]


@pytest.mark.parametrize("reason", DENIED)
def test_each_reason_says_what_it_means_looks_like_is_caused_by_and_is_mended_by(reason: str) -> None:
    text = WHY[reason]
    meaning = text.strip().split("\n\n")[0]
    assert meaning
    assert not meaning.startswith(("```", "-", "|"))
    shown = re.search(rf"^deny: {reason} |^cannot say: ", text, re.MULTILINE)
    assert shown or re.search(r"`(exhook[ _-]|error in a hook)", text), "a command, a metric or a line that shows it"
    assert re.search(r"^- \S", text, re.MULTILINE), "usual causes"
    assert re.search(r"^\*\*Mend\*\*: \S", text, re.MULTILINE)


@pytest.mark.parametrize(("first", "column"), [("grant", "covers"), ("deny", "overlaps")])
def test_covers_and_overlaps_as_the_tables_say(first: str, column: str) -> None:
    relation = {"covers": covers, "overlaps": overlaps}[column]
    rows = table(SEMANTICS["Covers and overlaps"], first)
    assert len(rows) > 8
    for rule, asked, said in rows:
        assert relation(rule, asked) is {"yes": True, "no": False}[said], f"{rule} {column} {asked}"


def test_sign_modes() -> None:
    rows = table(SEMANTICS["Secrets and sign modes"], "mode")
    assert {row[0]: row[1] for row in rows} == {mode.value: word for word, mode in SIGN_MODES.items()}


def test_known_answer() -> None:
    assert f"`{sign(b'XXXXX', 'GID_Test@@@0001').decode()}`" in SEMANTICS["Secrets and sign modes"]


def test_bounds_of_hashes() -> None:
    bounds = {row[0]: row[2] for row in table(SEMANTICS["Secrets and sign modes"], "hash")}
    memory = f"memory {hashes.MAX_MEMORY_KIB:,} KiB"
    assert bounds["argon2id"] == f"{memory}, {hashes.MAX_ARGON2_PASSES} passes, {hashes.MAX_ARGON2_LANES} lanes"
    assert f"to {hashes.MAX_BCRYPT_COST};" in bounds["bcrypt"]
    assert f"over {hashes.MAX_BCRYPT_PASSWORD_BYTES} bytes" in bounds["bcrypt"]
    assert memory in bounds["scrypt"]
    for name in ("PBKDF2, Mosquitto", "PBKDF2, mosquitto-go-auth"):
        assert bounds[name] == f"{hashes.MAX_PBKDF2_ITERATIONS:,} iterations"


def test_every_kind_of_hash_stands_in_the_table() -> None:
    written = " ".join(row[1] for row in table(SEMANTICS["Secrets and sign modes"], "hash"))
    with pytest.raises(hashes.InvalidHash) as refused:
        hashes.check_hash("no hash")
    kinds = re.findall(r"(?:PBKDF2)?\$[\w-]+\$", str(refused.value))
    assert len(kinds) == 9
    assert [kind for kind in kinds if kind not in written] == []


def test_placeholders() -> None:
    rows = table(SEMANTICS["Placeholders"], "placeholder")
    assert [row[0] for row in rows] == [*(f"${{{name}}}" for name in NAMES), "$${"]


@pytest.mark.parametrize("heading", MODELS)
def test_every_key_of_the_policy_file(heading: str) -> None:
    written = [row[0] for row in table(POLICY_FILE[heading], "key")]
    assert sorted(written) == sorted(MODELS[heading].model_fields)


def test_every_key_of_tests() -> None:
    case, side, topic = _tables(POLICY_FILE["test"])
    assert sorted(case) == sorted(case_entry.CaseEntry.model_fields)
    assert sorted(side) == sorted(case_entry.Can.model_fields) == sorted(case_entry.Cannot.model_fields)
    assert sorted(topic) == sorted(case_entry.RefusedTopic.model_fields)
    fixtures, client = _tables(POLICY_FILE["fixtures"])
    assert sorted(fixtures) == sorted(case_entry.Fixtures.model_fields)
    assert sorted(client) == sorted(case_entry.AskingEntry.model_fields)


def _tables(text: str) -> list[list[str]]:
    """The first cells of each table."""
    rows = [line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("|")]
    starts = [at for at, cell in enumerate(rows) if cell == "key"]
    return [rows[start + 2 : end] for start, end in zip(starts, [*starts[1:], len(rows)], strict=True)]


def test_every_lint_rule() -> None:
    assert {row[0]: row[1] for row in table(POLICY_FILE["Lint"], "lint rule")} == RULES


def test_every_key_of_an_include() -> None:
    models: tuple[type[include.Include], ...] = (
        include.IncludeIdentities,
        include.IncludePermissions,
        include.IncludeBlacklist,
    )
    written = [row[0] for row in table(POLICY_FILE["include"], "key")]
    assert sorted(written) == sorted({key for model in models for key in model.model_fields})


def test_every_column_of_rows() -> None:
    written = {row[0]: set(re.findall(r"\w+", row[1])) for row in table(POLICY_FILE["include"], "rows of")}
    common = set(include.RemarkColumns.model_fields)
    own = {kind: set(model.model_fields) - common for kind, model in COLUMNS.items()}
    assert written == {"all": common, **own}


def test_bounds_of_policy_files() -> None:
    strict = POLICY_FILE["Reading it is strict"].replace("\n  ", " ")
    assert f"at most {MAX_BYTES // 2**20} MiB, {MAX_DEPTH} levels within each other" in strict
    assert (MAX_EXPANSION, MAX_EXPANDED) == (100, 1_000_000)
    assert f"no more than {MAX_EXPANSION} times what is written, and a million values" in strict
    rows = POLICY_FILE["include"].replace("\n  ", " ")
    assert f"A file of rows may have {MAX_ROWS_BYTES // 2**30} GiB" in rows
    assert f"A file with {MAX_MISTAKES} of them is not read on" in rows


def test_exit_codes() -> None:
    rows = table(COMMANDS["Exit codes"], "exit code")
    assert {row[1]: int(row[0]) for row in rows} == {code.name: code.value for code in ExitCode}


def test_every_command_has_its_section_and_no_other_does() -> None:
    headings = {heading for heading in COMMANDS if heading.split()[0] in {"exhook", "exhook-sync"}}
    assert headings == set(CLI)


@pytest.mark.parametrize("name", CLI)
def test_every_option_stands_in_the_section_of_its_command(name: str) -> None:
    options = [parameter for parameter in CLI[name].params if parameter.param_type_name == "option"]
    exist = {option for parameter in options for option in (*parameter.opts, *parameter.secondary_opts)}
    written = table(COMMANDS[name], "option") if exist else []
    found = {word.strip("`,").split()[0] for row in written for word in row[0].split("`, `")}
    assert {option.partition("=")[0].partition("[")[0] for option in found} == exist


def test_settings_page_is_made_from_the_code() -> None:
    page = (DOCS / "settings.md").read_text(encoding="utf-8")
    assert page == markdown(), "make it anew: exhook settings --markdown > docs/settings.md"


def test_settings_say_which_flags_there_are() -> None:
    flags = {name for parameter in CLI["exhook serve"].params for name in parameter.opts} - {"--config"}
    said = {f"--{name.replace('_', '-')}" for name in Settings.model_fields if name not in WITHOUT_FLAG}
    assert said == flags
    assert (WITHOUT_FLAG | FILE_ALONE | set(RESTART_ONLY)) <= Settings.model_fields.keys()


def test_metrics() -> None:
    rows = {row[0]: (row[1], row[2]) for row in table(OPERATING["Metrics"], "metric")}
    made: dict[str, tuple[str, str]] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, Counter | Gauge | Histogram):
            (family,) = metric.describe()
            name = f"{family.name}_total" if isinstance(metric, Counter) else family.name
            labels = ", ".join(f"`{label}`" for label in metric._labelnames)
            made[name] = (family.type, labels)
    assert {name: (kind, labels.strip("`")) for name, (kind, labels) in made.items()} == rows


def test_fields_of_a_decision_in_the_log() -> None:
    rows = table(OPERATING["Logs"], "field")
    written = {name.strip("`") for row in rows for name in row[0].split(", ")}
    assert {"event", "level", "log_level"} < _logged() | {"event", "level", "log_level", "timestamp"}
    assert written == _logged() - {"event", "log_level"}


def _logged() -> set[str]:
    """The fields of a decision that has all of them."""
    secret = Secret(id="a", value=b"b", fingerprint="")
    rule = Identity(
        instance="mqtt-a", identity_type=IdentityType.USER, username="u", sign_mode=SignMode.ORIGIN, secrets=(secret,)
    )
    decision = Decision(
        allow=False, reason=Reason.NO_MATCH, revision=1, rule=rule, nearest=Nearest(rule, "level", 0), secret_id="a"
    )
    client = Client("u", "c", Listener("default", "mqtt-a"), address="127.0.0.1")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG))
    with capture_logs() as lines:
        DecisionLog(Settings()).write(
            decision_fields(decision, hook="publish", client=client, node="n", took_ms=1.0, decision_id="d", topic="t")
        )
    structlog.reset_defaults()
    (line,) = lines
    return set(line)


def test_readme_counts_what_the_demo_tries() -> None:
    assert f"try {len(SCRIPT)} things" in prose(ROOT / "README.md").replace("\n", " ")


def test_what_is_not_there_yet_is_not_there() -> None:
    said = prose(ROOT / "README.md").split("## What is not there yet")[1]
    assert "carrier" not in said
    assert Settings().carrier == "h2"
