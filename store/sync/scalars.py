"""What one value of a policy file may be: names, dates, counts, flags."""

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from store.account_records import KEY_ID_PATTERN, check_call, check_key_id
from store.api_calls import CALLS
from store.credentials import check_hash
from store.names import check_group, check_instance, check_parent_topic, check_text
from store.placeholders import NAMES
from store.sync.source import Text

API_SOURCE: Final = "api"

ROW_SUFFIXES: Final = (".jsonl", ".csv")
"""The ends of the names of files that may be included."""

_UNQUOTED: Final = "write it without quotes, a `${…}` outside of [ ] and { }"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_PERCENT: Final = re.compile(r"(100|[1-9]?[0-9])%")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_VAR_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_ID: Final = 128
_A_DATE: Final = "write 2027-01-31 (00:00 UTC) or 2027-01-31T18:00:00Z"


def unwanted(wanted: str, mend: str) -> PydanticCustomError:
    """``WANTED, not VALUE; MEND``: the value is added where it may be shown."""
    return PydanticCustomError("unwanted", "{wanted}", {"wanted": wanted, "mend": mend})


def broken(message: str) -> PydanticCustomError:
    """A whole sentence, which must not hold a secret."""
    return PydanticCustomError("broken", "{message}", {"message": message})


def _by_rule(check: Callable[[str], None]) -> AfterValidator:
    """A rule of the records, which raises a ValueError with its sentence."""

    def run(text: str) -> str:
        try:
            check(text)
        except ValueError as wrong:
            message = str(wrong)
        else:
            return text
        raise broken(message)

    return AfterValidator(run)


def _flag(value: Any) -> bool:
    if isinstance(value, Text) and value.plain and value in ("true", "false"):
        return value == "true"
    raise unwanted("true or false is wanted", _UNQUOTED)


def _kept(value: Any) -> bool:
    if _flag(value):
        return True
    raise unwanted("true is wanted", "leave `stored` out, and say where the secret is")


def _count(value: Any) -> int:
    if isinstance(value, Text) and value.plain and _COUNT.fullmatch(value):
        return int(value)
    raise unwanted("a whole number from 0 to 999999999 is wanted", _UNQUOTED)


def _removals(value: Any) -> str:
    if isinstance(value, Text) and (_PERCENT.fullmatch(value) or (value.plain and _COUNT.fullmatch(value))):
        return str(value)
    raise unwanted("a share or a count of removals is wanted", "write 30% or 100, say")


def _expiry(value: Any) -> int:
    if isinstance(value, Text):
        return expiry(value)
    raise unwanted("a date, or a date and time with its zone, is wanted", _A_DATE)


def expiry(text: str) -> int:
    """Milliseconds since the epoch; a bare date means 00:00 UTC.

    Raises:
        PydanticCustomError: no date.
    """
    try:
        if _DATE.fullmatch(text):
            return _ms(datetime.fromisoformat(text).replace(tzinfo=UTC))
        if _DATE_TIME.fullmatch(text):
            return _ms(datetime.fromisoformat(text.upper()))
    except (ValueError, OverflowError):
        raise unwanted("a date of the calendar is wanted", _A_DATE) from None
    raise unwanted("a date, or a date and time with its zone, is wanted", _A_DATE)


def _ms(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _key_id(text: str) -> None:
    check_key_id("id", text)


def _source_name(text: str) -> None:
    if text == API_SOURCE:
        raise ValueError("`api` is the name of what the API writes; name this source otherwise")
    check_name(text)


def check_name(text: str) -> None:
    """A name of people's choice.

    Raises:
        ValueError: no such name.
    """
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name; 1 to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit")


def _var_name(text: str) -> None:
    if not _VAR_NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a var; letters, digits, _ and -, not beginning with a digit or -")


def is_entry_id(text: str) -> bool:
    """At most 128 printable characters, at least one, without outer blanks."""
    return 0 < len(text) <= _MAX_ID and text.isprintable() and text == text.strip()


def _entry_id(text: str) -> str:
    if not is_entry_id(text):
        raise unwanted(f"an id of at most {_MAX_ID} printable characters without outer blanks is wanted", "rename it")
    return text


def is_note(text: str) -> bool:
    """Not empty, and nothing in it that would steer a terminal."""
    return bool(text) and not _CONTROL.search(text)


def _note(text: str) -> str:
    if not is_note(text):
        raise broken("a control character, which would reach terminals and logs; leave it out")
    return text


def is_variable(text: str) -> bool:
    """A name that the environment may have."""
    return bool(_VARIABLE.fullmatch(text))


def _variable(text: str) -> str:
    if not is_variable(text):
        raise broken("no name of a variable; letters, digits and _ alone, such as EXHOOK_SECRET_SENSORS")
    return text


def is_file_name(text: str) -> bool:
    """A path that may lie below the secrets folder; whether a link leads out of it is seen when it is read."""
    leads_out = os.path.normpath(text).split("/")[0] == ".."
    return bool(text) and not (text.startswith("/") or leads_out or "\0" in text)


def _file_name(text: str) -> str:
    if not is_file_name(text):
        raise broken("no path below the secrets folder; write one relative to it")
    return text


def _glob(text: str) -> str:
    parts = text.split("/")
    if ".." in parts or text.startswith("/") or "\0" in text:
        raise broken(f"{text!r} is not below the folder of this file; write a path relative to it, without `..`")
    if not text.endswith(ROW_SUFFIXES):
        raise broken("files of rows are *.jsonl (JSON, an object a line) or *.csv; write devices/*.jsonl, say")
    return text


def _delimiter(text: str) -> str:
    if text == "tab":
        return "\t"
    if len(text) != 1 or text in '"\r\n\0':
        raise broken('one character is wanted, no quotation mark; write ";" or tab, say')
    return text


VAR: Final = r"\$\{var\."
"""Where a text holds this, its vars decide what it is; a schema for editors cannot know."""
_PLACEHOLDER: Final = rf"\$\{{(?:{'|'.join(NAMES)}|var\.{_VAR_NAME.pattern})\}}"
_SCALAR: Final = ["string", "number", "boolean"]
"""What YAML may take a text for that is written without quotes: `0123`, `true`."""


def _schema(pattern: str = "", **more: Any) -> WithJsonSchema:
    """The JSON Schema of a text; of a pattern, unless it holds a var."""
    within = {"pattern": f"^(?:{pattern})$|{VAR}"} if pattern else {}
    return WithJsonSchema({"type": _SCALAR, "minLength": 1, **within, **more})


Word = Annotated[str, Field(min_length=1), _schema()]
Flag = Annotated[bool, BeforeValidator(_flag), WithJsonSchema({"type": ["boolean", "string"], "pattern": VAR})]
Kept = Annotated[bool, BeforeValidator(_kept), WithJsonSchema({"const": True})]
Count = Annotated[
    int,
    BeforeValidator(_count),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0, "maximum": 999_999_999, "pattern": VAR}),
]
Removals = Annotated[
    str,
    BeforeValidator(_removals),
    WithJsonSchema({"type": ["integer", "string"], "minimum": 0, "pattern": f"^{_PERCENT.pattern}$|{VAR}"}),
]
Expiry = Annotated[
    int | None,
    BeforeValidator(_expiry),
    WithJsonSchema({"type": "string", "pattern": f"^(?:{_DATE.pattern}|{_DATE_TIME.pattern})$|{VAR}"}),
]
Name = Annotated[Word, _by_rule(check_name), _schema(_NAME.pattern)]
SourceName = Annotated[Word, _by_rule(_source_name), _schema(f"(?!api$){_NAME.pattern}")]
VarName = Annotated[Word, _by_rule(_var_name), _schema(_VAR_NAME.pattern)]
VarValue = Annotated[str, WithJsonSchema({"type": _SCALAR})]
Glob = Annotated[Word, AfterValidator(_glob), _schema(r"(?!/).*\.(jsonl|csv)")]
Delimiter = Annotated[Word, AfterValidator(_delimiter), _schema('tab|[^"\\r\\n]')]
EntryId = Annotated[Word, AfterValidator(_entry_id), _schema(maxLength=_MAX_ID)]
Note = Annotated[Word, AfterValidator(_note)]
InstanceId = Annotated[Word, _by_rule(check_instance), _schema("[A-Za-z0-9_.-]{1,64}")]
GroupId = Annotated[Word, _by_rule(check_group), _schema("GID[_-][A-Za-z0-9_-]{3,60}")]
ParentTopic = Annotated[Word, _by_rule(check_parent_topic), _schema("(?![$])[^/+#]+")]
UserName = Annotated[Word, _by_rule(lambda text: check_text("username", text))]
ClientId = Annotated[Word, _by_rule(lambda text: check_text("client_id", text))]
KeyId = Annotated[Word, _by_rule(_key_id), _schema(KEY_ID_PATTERN)]
CallName = Annotated[Word, _by_rule(check_call), _schema("|".join(CALLS))]
Variable = Annotated[Word, AfterValidator(_variable), _schema(_VARIABLE.pattern)]
FileName = Annotated[Word, AfterValidator(_file_name), _schema("(?!/).*")]
Hash = Annotated[Word, _by_rule(check_hash)]
# An empty topic is refused with the other topics of its block, by the record.
Topic = Annotated[
    str,
    WithJsonSchema({"type": _SCALAR, "minLength": 1, "pattern": rf"^(?:[^$]|\$\$\{{|\$(?!\{{)|{_PLACEHOLDER})*$"}),
]
Topics = Annotated[list[Topic], Field(min_length=1)]
