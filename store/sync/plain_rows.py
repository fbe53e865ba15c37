"""Plain rows of included files as records, the short way: a million of them in seconds, none held as a model.

The short way takes a row that is plainly right, by the rules of the fields themselves; for any other it answers None,
and the row is read as an entry of a policy file is (`store.sync.entries`, `store.sync.blocks`), which makes of it the
same records, or the sentences that say what is wrong with it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from store.credentials import check_hash
from store.names import check_group, check_instance, check_text
from store.records import MAX_LIVE_SECRETS, Action, BlacklistEntry, Effect, Grantee, IdentityType, Permission, SignMode
from store.sync import scalars
from store.sync.blocks import ACTIONS, GRANTEES, Rows, merge_role
from store.sync.entries import SIGN_MODES, Scope
from store.sync.placed import Placed
from store.sync.policy import IdentitySpec
from store.sync.references import DEFAULT_SECRET, Kind, SecretReference
from store.sync.source import Place

Plain = dict[str, Any]

_REMARKS: Final = frozenset({"id", "instance", "note", "protect", "expires", "override"})


class Unusual(ValueError):
    """A row that is not plainly right."""


class PlainRows:
    """What the rows of one file have in common."""

    keys: frozenset[str]

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._before = f"{scope.file}:"
        self._behind = f"@{scope.commit}" if scope.commit else ""
        self._instances: set[str] = set()

    def records(self, row: Plain, line: int) -> Sequence[Any] | None:
        """The records of a row; None where it needs a second look."""
        if not row.keys() <= self.keys:
            return None
        try:
            return self._records(row, line)
        except ValueError:
            return None

    def _records(self, row: Plain, line: int) -> Sequence[Any]:
        raise NotImplementedError

    def _common(self, row: Plain, line: int) -> Plain:
        made: Plain = {
            "instance": self._scope.instance,
            "source": self._scope.source,
            "id": "",
            "origin": f"{self._before}{line}{self._behind}",
            "note": "",
            "protect": False,
            "expires_at": None,
        }
        if not _REMARKS.isdisjoint(row):
            self._remarks(row, made)
        return made

    def _remarks(self, row: Plain, made: Plain) -> None:
        if "id" in row:
            made["id"] = _that(scalars.is_entry_id, row["id"])
        if "note" in row:
            made["note"] = _that(scalars.is_note, row["note"])
        if "instance" in row:
            made["instance"] = self._instance(row["instance"])
        if "protect" in row:
            made["protect"] = _flag(row["protect"])
        if "override" in row:
            _flag(row["override"])
        if "expires" in row:
            made["expires_at"] = scalars.expiry(_text(row["expires"]))

    def _instance(self, name: Any) -> str:
        text = _text(name)
        if text not in self._instances:
            check_instance(text)
            self._instances.add(text)
        return text


class IdentityRows(PlainRows):
    """Rows as identities."""

    keys = _REMARKS | {"username", "client_id", "sign_mode", "client_ids", "secret", "secrets"}

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._literal_is_told = False
        self._each_literal = scope.findings.off_for_one("literal-secret")

    def _records(self, row: Plain, line: int) -> Sequence[IdentitySpec]:
        common = self._common(row, line)
        client_id = _text(row["client_id"]) if "client_id" in row else ""
        prefix, group = _client_ids(row["client_ids"]) if "client_ids" in row else ("", "")
        username = _text(row.get("username"))
        written = _secrets(row)
        mode = _sign_mode(row, written)
        if "|" in username or (client_id and (prefix or group)) or (mode is SignMode.EXTERNAL) == bool(written):
            raise Unusual
        spec = IdentitySpec(
            identity_type=IdentityType.CLIENT if client_id else IdentityType.USER,
            username=username,
            client_id=client_id,
            sign_mode=mode,
            client_ids_prefix=prefix,
            client_ids_group=group,
            secrets=tuple([self._reference(secret, mode, f"{self._before}{line}") for secret in written]),
            **common,
        )
        if len(written) > 1 and (len(written) > MAX_LIVE_SECRETS or len({one.id for one in spec.secrets}) == 1):
            raise Unusual
        return (spec,)

    def _reference(self, secret: Plain, mode: SignMode, origin: str) -> SecretReference:
        name, kind, value, expires_at = DEFAULT_SECRET, None, "", None
        for key, text in secret.items():
            if key == "id":
                name = _that(scalars.is_entry_id, text)
            elif key == "expires":
                expires_at = scalars.expiry(_text(text))
            elif kind is None:
                kind, value = self._kind(key, text, mode)
            else:
                raise Unusual
        if kind is None:
            raise Unusual
        return SecretReference(id=name, kind=kind, value=value, expires_at=expires_at, origin=origin)

    def _kind(self, key: str, text: Any, mode: SignMode) -> tuple[Kind, str]:
        if key == "hash" and mode is SignMode.HASHED:
            check_hash(_that(bool, text))
            return "hash", text
        if key == "env":
            return "env", _that(scalars.is_variable, text)
        if key == "file":
            return "file", _that(scalars.is_file_name, text)
        if key == "stored" and text is True:
            return "stored", ""
        if key == "literal" and self._literal_is_told:
            return "literal", _that(bool, text)
        # The first one is told of the long way round.
        self._literal_is_told |= key == "literal" and not self._each_literal
        raise Unusual


class PermissionRows(PlainRows):
    """Rows as permission blocks."""

    keys = _REMARKS | GRANTEES.keys() | ACTIONS.keys() | {"deny", "roles"}

    def _records(self, row: Plain, line: int) -> Sequence[Permission]:
        common = self._common(row, line)
        named = [key for key in GRANTEES if key in row]
        if len(named) != 1:
            raise Unusual
        kind = GRANTEES[named[0]]
        whom = row[named[0]]
        common["identity_type"] = kind
        if kind is Grantee.ALL:
            if whom is not True:
                raise Unusual
            common["identity"] = ""
        else:
            common["identity"] = _text(whom)
        made: dict[tuple[str, Effect], Permission] = {}
        _grants(made, row, Effect.ALLOW, common)
        if "deny" in row:
            if type(row["deny"]) is not dict or not row["deny"] or not row["deny"].keys() <= ACTIONS.keys():
                raise Unusual
            _grants(made, row["deny"], Effect.DENY, common)
        if "roles" in row:
            return self._with_roles(made, row["roles"], line, common)
        if not made:
            raise Unusual
        return list(made.values())

    def _with_roles(
        self, made: dict[tuple[str, Effect], Permission], names: Any, line: int, common: Plain
    ) -> Sequence[Permission]:
        place = Placed("", self._scope.file, Place(line, 1))
        rows: Rows = {key: Placed(record, place.file, place.at) for key, record in made.items()}
        if type(names) is not list or not names or len(set(map(_text, names))) != len(names):
            raise Unusual
        for name in names:
            role = self._scope.roles.rows(name)
            if role is None:
                raise Unusual
            merge_role(rows, role, place, common)
        return [one.item for one in rows.values()]


class BlacklistRows(PlainRows):
    """Rows as blacklist entries."""

    keys = _REMARKS | {"client_id", "username", "reason"}

    def _records(self, row: Plain, line: int) -> Sequence[BlacklistEntry]:
        return (
            BlacklistEntry(
                client_id=_text(row["client_id"]) if "client_id" in row else "",
                username=_text(row["username"]) if "username" in row else "",
                reason=_that(scalars.is_note, row["reason"]) if "reason" in row else "",
                **self._common(row, line),
            ),
        )


def _text(value: Any) -> str:
    if type(value) is not str or not value:
        raise Unusual
    check_text("text", value)
    return value


def _that(holds: Callable[[str], bool], value: Any) -> str:
    if type(value) is not str or not holds(value):
        raise Unusual
    return value


def _flag(value: Any) -> bool:
    if type(value) is not bool:
        raise Unusual
    return value


def _client_ids(value: Any) -> tuple[str, str]:
    if type(value) is not dict or len(value) != 1:
        raise Unusual
    ((key, text),) = value.items()
    if key == "prefix":
        return _text(text), ""
    if key != "group":
        raise Unusual
    check_group(_text(text))
    return "", text


def _secrets(row: Plain) -> list[Plain]:
    if "secret" in row:
        if "secrets" in row or type(row["secret"]) is not dict:
            raise Unusual
        return [row["secret"]]
    found = row.get("secrets", [])
    if type(found) is not list or ("secrets" in row and not found) or any(type(one) is not dict for one in found):
        raise Unusual
    return found


def _sign_mode(row: Plain, secrets: list[Plain]) -> SignMode:
    if "sign_mode" in row:
        written = row["sign_mode"]
        if type(written) is not str or written not in SIGN_MODES:
            raise Unusual
        return SIGN_MODES[written]
    if not secrets or any("hash" not in secret for secret in secrets):
        raise Unusual
    return SignMode.HASHED


def _grants(made: dict[tuple[str, Effect], Permission], row: Plain, effect: Effect, common: Plain) -> None:
    for key, action in ACTIONS.items():
        if key not in row:
            continue
        topics = row[key]
        if type(topics) is not list or not topics:
            raise Unusual
        for topic in map(_text, topics):
            first = made.get((topic, effect))
            if first is None:
                made[topic, effect] = Permission(topic=topic, action=action, effect=effect, **common)
            elif {first.action, action} == {Action.PUB, Action.SUB}:
                made[topic, effect] = replace(first, action=Action.PUB_SUB)
            else:
                raise Unusual
