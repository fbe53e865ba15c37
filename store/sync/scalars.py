"""What one value of a policy file may be: names, dates, counts, flags."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from store.credentials import check_hash
from store.records import check_group, check_instance, check_text
from store.sync.source import Text

API_SOURCE: Final = "api"

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COUNT: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_PERCENT: Final = re.compile(r"(100|[1-9]?[0-9])%")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DATE_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MAX_ID: Final = 128


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
    raise unwanted("true or false is wanted", "write it without quotes")


def _kept(value: Any) -> bool:
    if _flag(value):
        return True
    raise unwanted("true is wanted", "leave `stored` out, and say where the secret is")


def _count(value: Any) -> int:
    if isinstance(value, Text) and value.plain and _COUNT.fullmatch(value):
        return int(value)
    raise unwanted("a whole number from 0 to 999999999 is wanted", "write it without quotes")


def _removals(value: Any) -> str:
    if isinstance(value, Text) and (_PERCENT.fullmatch(value) or (value.plain and _COUNT.fullmatch(value))):
        return str(value)
    raise unwanted("a share or a count of removals is wanted", "write 30% or 100, say")


def _expiry(value: Any) -> int:
    """Milliseconds since the epoch; a bare date means 00:00 UTC."""
    mend = "write 2027-01-31 (00:00 UTC) or 2027-01-31T18:00:00Z"
    if isinstance(value, Text):
        try:
            if _DATE.fullmatch(value):
                return _ms(datetime.fromisoformat(value).replace(tzinfo=UTC))
            if _DATE_TIME.fullmatch(value):
                return _ms(datetime.fromisoformat(value.upper()))
        except (ValueError, OverflowError):
            raise unwanted("a date of the calendar is wanted", mend) from None
    raise unwanted("a date, or a date and time with its zone, is wanted", mend)


def _ms(moment: datetime) -> int:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * 1000 + since.microseconds // 1000


def _source_name(text: str) -> None:
    if text == API_SOURCE:
        raise ValueError("`api` is the name of what the API writes; name this source otherwise")
    _name(text)


def _name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name; 1 to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit")


def _entry_id(text: str) -> str:
    if not text.isprintable() or text != text.strip() or len(text) > _MAX_ID:
        raise unwanted(f"an id of at most {_MAX_ID} printable characters without outer blanks is wanted", "rename it")
    return text


def _note(text: str) -> str:
    if _CONTROL.search(text):
        raise broken("a control character, which would reach terminals and logs; leave it out")
    return text


def _variable(text: str) -> str:
    if not _VARIABLE.fullmatch(text):
        raise broken("no name of a variable; letters, digits and _ alone, such as EXHOOK_SECRET_SENSORS")
    return text


def _file_name(text: str) -> str:
    if text.startswith("/") or "\0" in text:
        raise broken("no path below the secrets folder; write one relative to it")
    return text


Word = Annotated[str, Field(min_length=1)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Kept = Annotated[bool, BeforeValidator(_kept), WithJsonSchema({"const": True})]
Count = Annotated[int, BeforeValidator(_count), Field(ge=0)]
Removals = Annotated[
    str,
    BeforeValidator(_removals),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}]}),
]
Expiry = Annotated[
    int | None,
    BeforeValidator(_expiry),
    WithJsonSchema({"type": "string", "pattern": f"^({_DATE.pattern}|{_DATE_TIME.pattern})$"}),
]
Name = Annotated[Word, _by_rule(_name)]
SourceName = Annotated[Word, _by_rule(_source_name)]
EntryId = Annotated[Word, AfterValidator(_entry_id)]
Note = Annotated[Word, AfterValidator(_note)]
InstanceId = Annotated[Word, _by_rule(check_instance)]
GroupId = Annotated[Word, _by_rule(check_group)]
UserName = Annotated[Word, _by_rule(lambda text: check_text("username", text))]
ClientId = Annotated[Word, _by_rule(lambda text: check_text("client_id", text))]
Variable = Annotated[Word, AfterValidator(_variable)]
FileName = Annotated[Word, AfterValidator(_file_name)]
Hash = Annotated[Word, _by_rule(check_hash)]
# An empty topic is refused with the other topics of its block, by the record.
Topics = Annotated[list[Annotated[str, Field(json_schema_extra={"minLength": 1})]], Field(min_length=1)]
