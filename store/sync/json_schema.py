"""The JSON Schema of policy files: editors complete and check by it. Derived from the models.

It refuses nothing that `store.sync.document` accepts, and accepts much that it refuses: what concerns several fields,
and what a var stands for, only the loader can judge.
"""

import json
from typing import Any, Final

from pydantic import BaseModel

from store.sync.key_order import ordered
from store.sync.scalars import VAR
from store.sync.schema import PolicyFile

ID: Final = "urn:exhook:policy:v1"
"""Changes with the format of policy files, and with nothing else."""
FILE_NAME: Final = "policy.schema.json"
"""What the first line of samples calls it."""

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_NULL: Final = {"type": "null"}
_EMPTY: Final = (None, "", False)
_VAR: Final = {"type": "string", "pattern": VAR}


def schema_text() -> str:
    """The schema as the text of a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def json_schema(model: type[BaseModel] = PolicyFile) -> dict[str, Any]:
    """The schema, draft 2020-12."""
    made = _cleaned(model.model_json_schema())
    return {"$schema": _DIALECT, "$id": ID, "title": "exhook policy, format exhook/v1", **made}


def _cleaned(value: Any) -> Any:
    """Without what pydantic says for itself: titles, nulls, defaults that say nothing."""
    if isinstance(value, list):
        return [_cleaned(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: one for key, one in value.items() if key != "title" and not (key == "default" and _says_nothing(one))}
    if "patternProperties" in made:
        # Vars are put into values alone.
        made["patternProperties"] = {
            pattern.removesuffix(f"|{VAR}"): one for pattern, one in made["patternProperties"].items()
        }
        made["additionalProperties"] = False
    if "anyOf" in made:
        choices = [one for one in made.pop("anyOf") if one != _NULL]
        made |= {"anyOf": choices} if len(choices) > 1 else choices[0]
    for key, one in made.items():
        if key in ("properties", "$defs"):
            order = ordered(one, file="format" in one) if key == "properties" else sorted(one)
            made[key] = {name: _cleaned(one[name]) for name in order}
        else:
            made[key] = _cleaned(one)
    if "enum" in made:
        words = {"enum": made.pop("enum")}
        made.pop("type", None)
        made["anyOf"] = [words, _VAR]
    return made


def _says_nothing(default: Any) -> bool:
    return default in _EMPTY or isinstance(default, (list, dict))
