"""Who lost something between two revisions: whom a broker has to end, read from the change log. Knows no broker.

It errs towards yes: what one record took away another may still give, and whoever is ended needlessly connects
again at once. It never errs the other way.
"""

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from store.changes import Operation
from store.names import fewer_parent_topics
from store.records import Action, ClientIdRule, Effect, Grantee, IdentityType, NoMatch
from store.tables import Subject

MAX_CHANGES: Final = 10_000
"""More changes than this at once are not looked at one by one: everyone may have lost something."""

MAX_STEPS: Final = 100_000
"""The same where records changed so often that to look at each moment between would take seconds."""

Moment = tuple[int, bool]
"""A revision; and whether all of it, or no more than what had run out by then."""

_BEFORE_ALL: Final[Moment] = (-1, False)

Content = Mapping[str, Any] | None
"""What a record said, as the change log has it; None where there was none, or it was not in force."""


def losses(connection: sqlite3.Connection, since: int, until: int, now_ms: int) -> frozenset[Subject] | None:
    """The subjects that lost something after revision `since`, up to `until`; None where that cannot be told.

    It cannot where a revision of these is missing, or the changes are more than MAX_CHANGES: then everyone may have.
    """
    (count,) = connection.execute(
        "SELECT count(*) FROM revisions WHERE revision > ? AND revision <= ?", (since, until)
    ).fetchone()
    if count != until - since:
        return None
    rows = connection.execute(
        "SELECT revision, operation, kind, instance, subject_type, subject, record_key, before, after, revisions.at"
        " FROM changes JOIN revisions USING (revision) WHERE revision > ? AND revision <= ?"
        " ORDER BY changes.id LIMIT ?",
        (since, until, MAX_CHANGES + 1),
    ).fetchall()
    if len(rows) > MAX_CHANGES:
        return None
    found = _Found()
    found.compare(_records(rows, now_ms))
    repeated, moments = _changed_again(rows)
    if len(repeated) * len(moments) > MAX_STEPS:
        return None
    # Whoever came in between the two, by what was granted after the one and taken before the other, is in.
    for moment in moments:
        found.compare(_records(repeated, now_ms, moment))
    return frozenset(found.lost)


def _changed_again(rows: Sequence[sqlite3.Row]) -> tuple[list[sqlite3.Row], list[Moment]]:
    """The changes of what changed at several moments, and these moments less the last."""
    moments: dict[tuple[str, ...], set[Moment]] = {}
    for row in rows:
        moments.setdefault(_group(row), set()).add(_moment(row))
    repeated = [row for row in rows if len(moments[_group(row)]) > 1]
    return repeated, sorted({_moment(row) for row in repeated})[:-1]


def _moment(row: sqlite3.Row) -> Moment:
    """What ran out had done so before the rest of its revision: whoever came in between the two is in."""
    return row["revision"], row["operation"] != Operation.EXPIRE


def _group(row: sqlite3.Row) -> tuple[str, ...]:
    """Permissions of one grantee are looked at together: one grant may only go over to another source."""
    if row["kind"] == "permission":
        return row["kind"], row["instance"], row["subject_type"], row["subject"]
    return row["kind"], row["record_key"]


def _records(rows: Iterable[sqlite3.Row], now_ms: int, since: Moment = _BEFORE_ALL) -> "dict[tuple[str, str], _Record]":
    """Each record that changed, as it was after the moment `since` and is after the last change."""
    records: dict[tuple[str, str], _Record] = {}
    untouched: set[tuple[str, str]] = set()
    for row in rows:
        _, operation, kind, instance, subject_type, subject, key, before, after, at = row
        record = records.get((kind, key))
        was, said = (json.loads(content) if content else None for content in (before, after))
        if record is None:
            subject_of = Subject(instance, subject_type, subject)
            record = records[kind, key] = _Record(subject=subject_of, is_new=was is None, before=_at(was, at))
            untouched.add((kind, key))
        if _moment(row) <= since:
            record.is_new, record.before = said is None, _at(said, at)
        elif (kind, key) in untouched:
            untouched.remove((kind, key))
            if operation == Operation.EXPIRE:
                # All of it was in force until then, whatever the clock said when it was written.
                record.before = was
        record.is_there = said is not None
        record.after = _at(said, now_ms)
    return records


@dataclass(slots=True, kw_only=True)
class _Record:
    """One record that changed."""

    subject: Subject
    is_new: bool
    is_there: bool = True
    before: Content
    """What it said that was in force before the first change …"""
    after: Content = None
    """… and what is in force after the last."""


@dataclass(slots=True)
class _Found:
    """What is found while the records are gone through."""

    lost: set[Subject] = field(default_factory=set)
    reach_before: dict[tuple[Subject, str, str], set[Action]] = field(default_factory=dict)
    """Of permissions, by grantee, topic and effect: the same grant may only have gone over to another source."""
    reach_after: dict[tuple[Subject, str, str], set[Action]] = field(default_factory=dict)

    def compare(self, records: "Mapping[tuple[str, str], _Record]") -> None:
        """Find who lost something by these changes, taken together."""
        self.reach_before.clear()
        self.reach_after.clear()
        for (kind, _), record in records.items():
            _LOSSES.get(kind, _anything)(record, self)
        for key in self.reach_before.keys() | self.reach_after.keys():
            before, after = self.reach_before.get(key, set()), self.reach_after.get(key, set())
            if before - after if key[2] == Effect.ALLOW else after - before:
                self.lost.add(key[0])


def _at(said: Content, at_ms: int | None) -> Content:
    """What a record said, with what was in force at a time; None, for what has just expired: all of it."""
    if said is None or at_ms is None:
        return said
    if (said.get("expires_at") or at_ms + 1) <= at_ms:
        return None
    if "secrets" not in said:
        return said
    return {**said, "secrets": [one for one in said["secrets"] if (one.get("expires_at") or at_ms + 1) > at_ms]}


def _identity(record: _Record, found: _Found) -> None:
    before, after = record.before, record.after
    if record.subject.type == IdentityType.CLIENT and record.is_new and record.is_there:
        # It takes its client id from everybody else who uses it, even where it has expired itself.
        found.lost.add(record.subject)
    if before is None:
        return
    if after is None or before["sign_mode"] != after["sign_mode"]:
        found.lost.add(record.subject)
        return
    live = {secret["fingerprint"] for secret in after.get("secrets", ())}
    gone = any(secret["fingerprint"] not in live for secret in before.get("secrets", ()))
    if gone or not _admits_all_of(after, before):
        found.lost.add(record.subject)


def _admits_all_of(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Whether every client id that might use an identity still may."""
    group = after.get("client_ids_group", "")
    if group:
        return bool(group == before.get("client_ids_group", ""))
    # A group of clients is a prefix, too: `GID_x@@@`.
    was_group = before.get("client_ids_group", "")
    was = f"{was_group}@@@" if was_group else before.get("client_ids_prefix", "")
    return bool(was.startswith(after.get("client_ids_prefix", "")))


def _permission(record: _Record, found: _Found) -> None:
    for said, reach in ((record.before, found.reach_before), (record.after, found.reach_after)):
        if said is not None:
            key = (record.subject, said["topic"], said["effect"])
            actions = {action for action in (Action.PUB, Action.SUB) if Action(said["action"]).includes(action)}
            reach.setdefault(key, set()).update(actions)


def _blacklist(record: _Record, found: _Found) -> None:
    if record.after is not None and record.before is None:
        found.lost.add(record.subject)


def _instance(record: _Record, found: _Found) -> None:
    before, after = record.before, record.after
    if before is None:
        return
    if (
        after is None
        or any(after.get(name, default) == strict != before.get(name, default) for name, default, strict in _RULES)
        or fewer_parent_topics(before.get("parent_topics", ()), after.get("parent_topics", ()))
    ):
        found.lost.add(record.subject)


_RULES: Final = (
    ("client_id_rule", ClientIdRule.ANY, ClientIdRule.GROUP),
    ("pin_client_ids", 1, 1),
    ("no_match", NoMatch.DENY, NoMatch.DENY),
)
"""Of an instance: name, default, and the value that takes something away."""


def _device_credential(record: _Record, found: _Found) -> None:
    """Its client id is proven by it alone, as by an identity of its own."""
    if record.before != record.after:
        found.lost.add(record.subject)


def _token(record: _Record, found: _Found) -> None:
    """Clients connect by a token under the name of its access key."""
    if record.before is not None and record.before != record.after:
        key = record.before["access_key_id"]
        found.lost.add(Subject(record.subject.instance, Grantee.ACCESS_KEY.value, key))


def _anything(record: _Record, found: _Found) -> None:
    """Whoever it is part of lost something, unless it is new."""
    if record.before is not None and record.before != record.after:
        found.lost.add(record.subject)


_LOSSES: Final[Mapping[str, Callable[[_Record, _Found], None]]] = {
    "identity": _identity,
    "permission": _permission,
    "blacklist": _blacklist,
    "group": _anything,
    "instance": _instance,
    "device_credential": _device_credential,
    "token": _token,
    "access_key": _anything,
}
"""What a change of a kind of record takes away, and from whom; of a kind that is not here, as of an access key."""
