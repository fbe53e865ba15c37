"""The JSON Schema of policy files: committed as it is made, and right for every policy of the repository."""

import re
from pathlib import Path
from typing import Final

import pytest
from documents_under_test import documents
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator
from pages import PAGES, ROOT, Block, blocks
from policy_files_under_test import FIXTURES
from policy_schema_under_test import SCHEMA_FILE, faults
from ruamel.yaml.error import YAMLError

from store.sync.json_schema import FILE_NAME, ID, json_schema, schema_text
from store.sync.sample import sample
from store.sync.schema import FORMAT

MODELINE: Final = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
VALID: Final = [path for path in sorted(FIXTURES.glob("*.yaml")) if not path.stem.startswith("invalid")]
INVALID: Final = [path for path in sorted(FIXTURES.glob("*.yaml")) if path.stem.startswith("invalid")]
DEMO: Final = ROOT / "exhook" / "demo" / "policy.yaml"
DEPLOYED: Final = [
    path for path in sorted((ROOT / "deploy").rglob("*.y*ml")) if f"\nformat: {FORMAT}\n" in f"\n{path.read_text()}"
]
WHOLE: Final = [
    block for page in PAGES for block in blocks(page, "yaml") if f"\nformat: {FORMAT}\n" in f"\n{block.text}"
]

FOR_THE_LOADER_ALONE: Final = {
    "invalid-anchor-twice": "a matter of YAML, which parsers let pass",
    "invalid-csv": "what concerns other files",
    "invalid-directive": "a matter of YAML, which parsers let pass",
    "invalid-duplicate-entries": "what concerns several entries",
    "invalid-duplicate-ids": "what concerns several entries",
    "invalid-escape-out-of-range": "a matter of YAML, which parsers break on",
    "invalid-expected-rules": "what concerns several entries",
    "invalid-grantees": "what concerns several keys",
    "invalid-hashes": "the kinds of hashes, and their bounds",
    "invalid-included-twice": "what concerns other files",
    "invalid-json-lines": "what concerns other files",
    "invalid-merge-key": "a matter of YAML, which parsers let pass",
    "invalid-surrogate": "a matter of YAML, which parsers let pass",
}
"""What a schema cannot see, by fixture."""


def test_the_committed_file_is_what_the_code_makes() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "make it anew: make generate"


def test_it_is_a_schema_of_one_version() -> None:
    made = json_schema()
    Draft202012Validator.check_schema(made)
    version = FORMAT.partition("/")[2]
    assert (made["$id"], SCHEMA_FILE.name) == (f"urn:exhook:policy:{version}", f"exhook-{version}.schema.json")
    assert made["$id"] == ID
    assert made["properties"]["format"]["const"] == FORMAT


def test_every_key_is_described() -> None:
    made = json_schema()
    models = {"the file": made, **made["$defs"]}
    bare = [f"{name}.{key}" for name, model in models.items() for key, said in model["properties"].items()
            if not said.get("description")]  # fmt: skip
    assert bare == []


@pytest.mark.parametrize("path", [*VALID, DEMO, *DEPLOYED], ids=lambda path: path.stem)
def test_every_sample_is_right(path: Path) -> None:
    assert faults(path.read_bytes()) == []


@pytest.mark.parametrize("block", WHOLE, ids=str)
def test_every_policy_of_the_documentation_is_right(block: Block) -> None:
    assert faults(block.text) == []


def test_the_policy_to_begin_with_is_right() -> None:
    text, _ = sample()
    assert faults(text) == []
    assert MODELINE.match(text)


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_what_is_wrong_is_underlined(path: Path) -> None:
    """All that a schema can catch; what it cannot is on the list, with the reason."""
    why = FOR_THE_LOADER_ALONE.get(path.stem, "")
    if why.startswith("a matter of YAML"):
        return
    if why:
        assert faults(path.read_bytes()) == [], "the schema sees it: take it off the list"
        return
    try:
        found = faults(path.read_bytes())
    except YAMLError:
        return
    assert found, f"put it on the list of what a schema cannot see, with the reason: {path.stem}"


@given(documents())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_refuses_nothing_that_is_a_policy(text: str) -> None:
    assert faults(f"format: {FORMAT}\n{text}") == []


@pytest.mark.parametrize("path", [path for path in VALID if not path.stem.startswith("warning")], ids=lambda p: p.stem)
def test_samples_name_the_schema(path: Path) -> None:
    said = MODELINE.match(path.read_text(encoding="utf-8"))
    assert said
    assert (path.parent / said[1]).resolve() == SCHEMA_FILE


@pytest.mark.parametrize("path", [DEMO, *DEPLOYED], ids=lambda path: path.stem)
def test_samples_that_are_copied_name_it_beside_them(path: Path) -> None:
    said = MODELINE.match(path.read_text(encoding="utf-8"))
    assert said
    assert said[1] == FILE_NAME
