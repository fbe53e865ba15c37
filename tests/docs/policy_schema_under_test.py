"""The JSON Schema of policy files as an editor uses it: the file is read as plain YAML 1.2, then checked."""

import json
from collections.abc import Iterator
from typing import Any, Final

from jsonschema import Draft202012Validator
from pages import ROOT
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor

SCHEMA_FILE: Final = ROOT / "deploy" / "schema" / "exhook-v1.schema.json"


class _Plain(SafeConstructor):
    """Dates stay texts, as in YAML 1.2's core schema."""


_Plain.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def faults(text: str | bytes) -> list[str]:
    """What an editor would underline: the place, and what is wrong."""
    return sorted(f"{error.json_path}: {error.message}" for error in _errors(as_data(text)))


def as_data(text: str | bytes) -> Any:
    """A YAML file as JSON has it.

    Raises:
        YAMLError: it is no YAML.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Plain
    return yaml.load(text)


def _errors(data: Any) -> Iterator[Any]:
    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))).iter_errors(data)
