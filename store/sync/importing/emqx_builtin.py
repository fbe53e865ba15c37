"""EMQX's built-in database: users with their hashes (CSV or JSON), and rules (JSON, as its API lists them)."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from store.hashes import InvalidHash, hash_password
from store.records import Effect, Grantee
from store.sync.exit_codes import Usage
from store.sync.findings import InvalidPolicy
from store.sync.importing import emqx_rules
from store.sync.importing.emqx_hashes import Algorithm, Hashing, self_describing
from store.sync.importing.emqx_rules import EVERYONE, EmqxRule, Key, Who
from store.sync.importing.emqx_topics import read_topic
from store.sync.importing.first_match import translate
from store.sync.importing.imported import Imported, ImportedIdentity
from store.sync.importing.located_json import Json, read_json
from store.sync.importing.original import Original, Spot, all_of, malformed

_EFFECTS: Final = {"allow": Effect.ALLOW, "deny": Effect.DENY}
_ACTIONS: Final = {"pub": "publish", "sub": "subscribe"}
_RULE_KEYS: Final = frozenset({"permission", "action", "topic", "topics", "qos", "retain"})
_ALL_QOS: Final = frozenset({"0", "1", "2"})
_ORDER: Final = (Grantee.CLIENT, Grantee.USER, Grantee.ALL)
"""In which EMQX goes through the rules of the built-in database."""
_TRUE: Final = "true"
_COLUMNS: Final = "user_id,password_hash,salt,is_superuser"
_NEW_PASSWORD: Final = "give the user a new password: `exhook-sync hash` makes its line"  # noqa: S105 - a sentence


@dataclass(frozen=True, slots=True)
class _User:
    """One user as it is exported."""

    name: str
    at: Spot
    stored: str = field(repr=False)
    salt: str = field(repr=False)
    password: str = field(repr=False)
    superuser: bool
    namespace: str


def import_builtin(originals: Sequence[Original], hashing: Hashing) -> Imported:
    """Identities and permissions of a database; several files are read as one database.

    Raises:
        InvalidPolicy: a file that EMQX does not make.
        Usage: the hashes cannot be understood without an option.
    """
    faults: list[InvalidPolicy] = []
    users: list[_User] = []
    rules: list[tuple[Key, EmqxRule]] = []
    for original in originals:
        try:
            if original.text.lstrip()[:1] in ("[", "{"):
                _read_json(original, users, rules)
            else:
                users += _csv_users(original)
        except InvalidPolicy as wrong:
            faults.append(wrong)
    faults += _twice(users)
    if faults:
        raise all_of(faults)
    made = Imported()
    _add_users(users, hashing, made)
    if rules:
        ordered = [rule for grantee in _ORDER for key, rule in rules if key[0] is grantee]
        made.add_grants(translate(list(emqx_rules.rules_of(ordered, made.leftovers)), made.leftovers))
        emqx_rules.tell_differences(made.leftovers)
    return made


def _twice(users: Sequence[_User]) -> Iterator[InvalidPolicy]:
    first: dict[str, _User] = {}
    for user in users:
        other = first.setdefault(user.name, user)
        if other is not user:
            message = f"the user {user.name!r} is given twice, first at {other.at}; leave one out"
            yield malformed(user.at.file, user.at.line, 1, message)


def _add_users(users: Sequence[_User], hashing: Hashing, made: Imported) -> None:
    plain = {user.name: _plain(user, hashing) for user in users}
    passwords = {name: password for name, password in plain.items() if password}
    # argon2 takes its time, and lets other threads go on.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = dict(
            zip(passwords, pool.map(lambda text: hash_password(text.encode()), passwords.values()), strict=True)
        )
    for user in users:
        what = f"user {user.name!r}"
        if user.namespace:
            why = "it belongs to a namespace of EMQX, which has no counterpart here"
            made.leftovers.left_out(user.at, what, why, "import each namespace with an --instance of its own")
        elif hash_ := hashes.get(user.name) or _hash(user, hashing, made):
            added = made.add_identity(ImportedIdentity(username=user.name, hash=hash_), user.at, _NEW_PASSWORD)
            if added and user.superuser:
                why = "EMQX lets a superuser do everything, past all rules; here there is none"
                instead = 'grant it what it needs; everything but the topics with $ is both: ["#"]'
                made.leftovers.left_out(user.at, f"{what}: is_superuser", why, instead)


def _plain(user: _User, hashing: Hashing) -> str:
    """The password, where the export has it as it is."""
    if user.password:
        return user.password
    return user.stored if hashing.algorithm is Algorithm.PLAIN and not user.salt else ""


def _hash(user: _User, hashing: Hashing, made: Imported) -> str:
    """The hash that describes itself; nothing where there can be none, which is told."""
    if not user.stored:
        why = "the file holds no hash of its password"
        made.leftovers.left_out(user.at, f"user {user.name!r}", why, _NEW_PASSWORD)
        return ""
    if lacking := hashing.lacks(user.stored):
        raise Usage(
            f"{lacking} is missing, without which the hashes of {user.at.file} cannot be understood; see "
            "`password_hash_algorithm` in the configuration of EMQX"
        )
    try:
        return self_describing(user.stored, user.salt, hashing)
    except InvalidHash as wrong:
        made.leftovers.left_out(user.at, f"user {user.name!r}", str(wrong), _NEW_PASSWORD)
        return ""


def _csv_users(original: Original) -> Iterator[_User]:
    reader = csv.reader(io.StringIO(original.text, newline=""), strict=True)
    header: list[str] = []
    line = 1
    try:
        for row in reader:
            start, line = line, reader.line_num + 1
            if not row:
                continue
            if not header:
                header = _header(row, original, start)
            elif len(row) != len(header):
                message = f"{len(row)} columns, where the first line names {len(header)}"
                raise malformed(original.file, start, 1, message)
            else:
                yield _csv_user(dict(zip(header, row, strict=True)), Spot(original.file, start))
    except csv.Error:
        # Its text may quote the file.
        raise malformed(original.file, line, 1, "no CSV from here on; check the quotes") from None
    if not header:
        raise malformed(original.file, 1, 1, f"an empty file; the first line is {_COLUMNS}")


def _header(row: list[str], original: Original, line: int) -> list[str]:
    names = [name.strip() for name in row]
    if "user_id" not in names or len(set(names)) != len(names):
        raise malformed(original.file, line, 1, f"no column user_id; the first line is {_COLUMNS}")
    return names


def _csv_user(row: dict[str, str], at: Spot) -> _User:
    return _User(
        name=row["user_id"],
        at=at,
        stored=row.get("password_hash", ""),
        salt=row.get("salt", ""),
        password=row.get("password", ""),
        superuser=row.get("is_superuser", "") == _TRUE,
        namespace=row.get("namespace", ""),
    )


def _read_json(original: Original, users: list[_User], rules: list[tuple[Key, EmqxRule]]) -> None:
    root = read_json(original)
    entries = root.items() or root.get("data").items() or ([root] if root.get("rules").value is not None else [])
    faults: list[InvalidPolicy] = []
    for entry in entries:
        try:
            if entry.get("rules").value is not None:
                rules += _rules(entry)
            else:
                users.append(_json_user(entry))
        except InvalidPolicy as wrong:
            faults.append(wrong)
    if not entries:
        faults.append(original.fault(root.at, 'no users and no rules; write a list of {"user_id": …}'))
    if faults:
        raise all_of(faults)


def _json_user(entry: Json) -> _User:
    if not entry.get("user_id").text():
        raise entry.original.fault(entry.at, 'neither a user nor rules; write {"user_id": "anna", "password_hash": …}')
    return _User(
        name=entry.get("user_id").text(),
        at=entry.spot,
        stored=entry.get("password_hash").text(),
        salt=entry.get("salt").text(),
        password=entry.get("password").text(),
        superuser=entry.get("is_superuser").value in (True, _TRUE),
        namespace=entry.get("namespace").text(),
    )


def _rules(entry: Json) -> Iterator[tuple[Key, EmqxRule]]:
    key: Key = EVERYONE
    if entry.get("username").text():
        key = (Grantee.USER, entry.get("username").text())
    elif entry.get("clientid").text():
        key = (Grantee.CLIENT, entry.get("clientid").text())
    for rule in entry.get("rules").items():
        yield key, _rule(key, rule)


def _rule(key: Key, rule: Json) -> EmqxRule:
    action = rule.get("action").text()
    action = _ACTIONS.get(action, action)
    permission = rule.get("permission").text()
    topics = rule.get("topics").items() or [rule.get("topic")]
    if permission not in _EFFECTS or action not in emqx_rules.ACTIONS or not all(one.text() for one in topics):
        message = 'no rule; write {"permission": "allow", "action": "publish", "topic": "a/#"}'
        raise rule.original.fault(rule.at, message)
    qos = {str(one.value) for one in rule.get("qos").items() or [rule.get("qos")]} - {"None"}
    others = sorted(rule.value.keys() - _RULE_KEYS) if isinstance(rule.value, dict) else []
    who = Who((key,))
    if others:
        why = f"the condition {', '.join(others)} is not known here"
        who = Who((), (key,), why, "grant it without the condition, if it may be")
    return EmqxRule(
        effect=_EFFECTS[permission],
        who=who,
        actions=emqx_rules.ACTIONS[action],
        conditional=bool(qos and qos != _ALL_QOS) or rule.get("retain").value not in (None, "all"),
        topics=tuple(read_topic(one.text()) for one in topics),
        at=rule.spot,
        said=f"{permission} {action} {', '.join(one.text() for one in topics)} ({key[0].lower()} {key[1]})".replace(
            " )", ")"
        ),
    )
