"""Logs by structlog: JSON or console, one line per event, never a secret.

A request is never formatted. What may be logged is named field by field, and a processor drops what looks
like a secret should someone forget (pitfall 12).
"""

import json
import logging
import os
import random
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any, Final, TextIO

from exhook.plain_structlog import structlog
from exhook.settings import Settings
from store.decision import Decision
from store.records import Record
from store.view import Client

SECRET_FIELDS: Final = frozenset({"password", "secret", "secrets", "token", "request", "body", "key", "authorization"})

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=repr).encode

logger: Final[structlog.stdlib.BoundLogger] = structlog.get_logger()


def configure(settings: Settings, *, on_lost: Callable[[], None] = lambda: None, **bound: object) -> None:
    """Set structlog up for this process; `bound` stands in every line. `on_lost` hears of each that is lost."""
    as_json = settings.log_format == "json" or (settings.log_format == "auto" and not sys.stderr.isatty())
    renderer: Any = (
        render_json
        if as_json
        # Values in quotes: what a client chose must not read like a field of its own.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and not os.environ.get("NO_COLOR"),
            pad_event_to=0,
            repr_native_str=True,
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            drop_secrets,
            escape_controls,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.log_level]),
        logger_factory=partial(_Lines, sys.stderr, on_lost),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**bound)


class _Lines(structlog.WriteLogger):
    """Lines on a stream, each by one write with its end: processes share it, and would write between the two.

    One that cannot be written (a full disk, a reader that went away) is lost. It must not become the failure of an
    answer: an error status lets clients in where a broker ignores it.
    """

    def __init__(self, stream: TextIO, on_lost: Callable[[], None], *_: object) -> None:
        super().__init__(stream)
        self._on_lost = on_lost

    def msg(self, message: str) -> None:
        try:
            super().msg(message)
        except (OSError, ValueError):
            self._on_lost()

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg


def drop_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take out fields that are named like a secret."""
    for name in SECRET_FIELDS & event.keys():
        event[name] = "(dropped)"
    return event


def render_json(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One line of JSON. An encoder that is made once takes half the time."""
    return _JSON(event)


def escape_controls(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Make control characters visible: a client id must not move the reader's cursor, or forge a line."""
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)
    return event


def error_place(error: BaseException) -> str:
    """Kind and place of an exception, without its message, which may quote what it was given."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_globals.get('__name__')}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__}{where}"


def rule_name(record: Record | None) -> str | None:
    """How a record shows in a line: its id, or its key; with owner and place."""
    if record is None:
        return None
    name = record.id or " ".join(part for part in record.key if part)
    place = f" {record.origin}" if record.origin else ""
    return f"{record.kind} {name} [{record.source}{place}]"


def decision_fields(
    decision: Decision, *, hook: str, client: Client | None, node: str, took_ms: float, decision_id: str,
    topic: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """What is told of a decision, in the log and by `exhook tail`; an allow-list."""
    fields: dict[str, Any] = {
        "decision_id": decision_id,
        "hook": hook,
        "result": "allow" if decision.allow else "pass" if decision.passed_on else "deny",
        "reason": decision.reason.value,
        "rule": rule_name(decision.rule),
        "client_id": client.client_id if client else None,
        "username": client.username if client else None,
        "address": client.address if client else None,
        "listener": client.listener.name if client else None,
        "topic": topic,
        "nearest": rule_name(decision.nearest.record) if decision.nearest else None,
        "secret_id": decision.secret_id or None,
        "revision": decision.revision,
        "node": node,
        "took_ms": round(took_ms, 3),
    }
    return {name: value for name, value in fields.items() if value is not None}


class DecisionLog:
    """One line per decision, at a level and for the results that the settings choose."""

    def __init__(self, settings: Settings, on_sampled_out: Callable[[], None] = lambda: None) -> None:
        self._results = settings.decisions
        self.allows = settings.decisions == "all"
        """Whether any of them is an allow."""
        self._level = _LEVELS[settings.decision_level]
        self._sample = settings.decisions_sample
        self._on_sampled_out = on_sampled_out
        self._processors: object = None
        self._logger: Any = None

    def wants(self, decision: Decision) -> bool:
        if self._results != "all":
            return self._results == "deny" and not decision.allow
        # A share of the allows; denials are complete.
        if decision.allow and self._sample < 1 and random.random() >= self._sample:  # noqa: S311 - no secret
            self._on_sampled_out()
            return False
        return True

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write the line."""
        processors = structlog.get_config()["processors"]
        if processors is not self._processors:
            # Bound once for as long as lines are made in one way: to bind costs as much as to write.
            self._logger, self._processors = logger.bind(), processors
        self._logger.log(self._level, "decision", **fields)
