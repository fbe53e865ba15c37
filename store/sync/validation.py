"""Located values through pydantic models: what pydantic finds becomes our sentences at our places."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from store.sync.entry import Entry
from store.sync.key_order import ordered
from store.sync.source import Items, Located, Mapping, Nothing, Text, Value
from store.sync.syntax import shorten

Fault = Callable[[Located, str], None]
M = TypeVar("M", bound=Entry)

_SECRETS: Final = frozenset({"secret", "secrets"})
"""Below these keys nothing is repeated: what stands in a wrong place may be a secret."""

_KEY: Final = "[key]"
"""How pydantic ends the place of an error that concerns a key."""

_SENTENCES: Final = {
    "broken": "{message}",
    "unwanted": "{wanted}{shown}; {mend}",
    "string_type": "a text is wanted{shown}; quote it if it holds brackets",
    "string_too_short": "an empty text; write one, or leave the key out",
    "list_type": "a list is wanted{shown}; write [ ] around it, or `- ` before each entry",
    "too_short": "an empty list; write entries, or leave the key out",
    "model_type": "a mapping is wanted{shown}; write {example}",
    "dict_type": "a mapping is wanted{shown}; write {example}",
    "literal_error": "{expected} is wanted{shown}; correct it",
}
"""By pydantic's name of the error; the schema can make no others."""


def validate(model: type[M], value: Value, fault: Fault, *, part_of: type[Entry] | None = None) -> M | None:
    """The value as a model; or None, and each mistake in it handed to `fault` with its place.

    Where the model is `part_of` a larger one, mistakes are told by what that one knows.
    """
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        # The input stays out: it may hold secrets.
        errors = wrong.errors(include_url=False, include_input=False)
    for error in errors:
        _report(part_of or model, value, error, fault)
    return None


def _report(model: type[Entry], root: Value, error: ErrorDetails, fault: Fault) -> None:
    loc = error["loc"]
    holder = _value_at(root, loc[:-1])
    value = _value_at(root, loc)
    if error["type"] == "missing":
        fault(holder, f"`{loc[-1]}` is missing; {_addition(model, loc)}")
    elif error["type"] == "extra_forbidden":
        at = holder.key_at(str(loc[-1])) if isinstance(holder, Mapping) else holder
        fault(at, _unknown_key(model_at(model, loc[:-1]), str(loc[-1]), private=_private(loc[:-1])))
    elif loc and loc[-1] == _KEY:
        fault(_key_at(root, loc), _sentence(model, value, error))
    elif not isinstance(value, Nothing):
        fault(value, _sentence(model, value, error))


def _sentence(model: type[Entry], value: Value, error: ErrorDetails) -> str:
    words = {
        "shown": _shown(value, private=_private(error["loc"])),
        "example": _example(model, error["loc"]),
        **error.get("ctx", {}),
    }
    return _SENTENCES[error["type"]].format_map(words)


def _unknown_key(model: type[Entry], key: str, *, private: bool) -> str:
    known = ordered(model.model_fields, file="format" in model.model_fields)
    named = "unknown key" if private else f"unknown key `{shorten(key)}`"
    if close := difflib.get_close_matches(key, known, n=1):
        return f"{named}; did you mean `{close[0]}`?"
    return f"{named}; known here are {', '.join(known)}"


def _addition(model: type[Entry], loc: Sequence[int | str]) -> str:
    return (
        "begin the file with `format: exhook/v1`"
        if loc == ("format",)
        else f"write {model_at(model, loc[:-1]).example}"
    )


def _example(model: type[Entry], loc: Sequence[int | str]) -> str:
    own = model_at(model, loc[:-1]).examples.get(str(loc[-1])) if loc else None
    return own or model_at(model, loc).example


def _key_at(root: Value, loc: Sequence[int | str]) -> Located:
    """The place of the key that an error is about."""
    holder = _value_at(root, loc[:-2])
    return holder.key_at(str(loc[-2])) if isinstance(holder, Mapping) else holder


def _shown(value: Value, *, private: bool) -> str:
    if isinstance(value, Items):
        return ", not a list"
    if isinstance(value, Mapping):
        return ", not a mapping"
    return "" if private or not isinstance(value, Text) else f", not {shorten(repr(str(value)))}"


def _private(loc: Sequence[int | str]) -> bool:
    return not _SECRETS.isdisjoint(loc)


def _value_at(root: Value, loc: Sequence[int | str]) -> Value:
    """The value at a place; where a key is missing, what should hold it."""
    value = root
    for part in loc:
        if isinstance(part, int) and isinstance(value, Items):
            value = value[part]
        if isinstance(part, str) and isinstance(value, Mapping):
            value = value.get(part, value)
    return value


def model_at(model: type[Entry], loc: Sequence[int | str]) -> type[Entry]:
    """The model that stands at a place within another; list indexes count for nothing."""
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_within(model.model_fields[part].annotation) or model
    return model


def _model_within(annotation: Any) -> type[Entry] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation if issubclass(annotation, Entry) else None
    return next((found for part in get_args(annotation) if (found := _model_within(part))), None)
