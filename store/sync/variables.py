"""Vars: texts under a name, put where ``${var.NAME}`` stands.

They are put into values that are parsed already, so that none can make a list, a key or a null of a text; what they
hold is not looked at again. ``$${var.`` stands for the text ``${var.`` itself.
"""

import difflib
import re
from typing import Any, Final

from store.sync.findings import Findings
from store.sync.placed import Placed
from store.sync.source import PRIVATE, Items, Mapping, Nothing, Text, Value, text_at
from store.sync.syntax import MAX_BYTES

SIGN: Final = "${var."
"""What a text without vars does not hold."""
MAX_TEXT: Final = 1024 * 1024
"""Characters of one text with its vars; an MQTT string is no longer than 65,535 bytes."""

_REFERENCE: Final = re.compile(r"\$\$\{var\.|\$\{var\.(?:([A-Za-z_][A-Za-z0-9_-]{0,63})\})?")
_NOT_EXPANDED: Final = frozenset({"format", "vars"})
_GRANTS: Final = frozenset({"permissions", "roles", "include"})
"""Sections whose topics may hold placeholders, in which ``$${`` is a literal already."""
_ACTIONS: Final = frozenset({"publish", "subscribe", "both"})


class WrongVar(ValueError):
    """A text refers to a var that cannot be put there. `name` is not part of the message: it may be a secret."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Vars:
    """The vars of all files, a later file's instead of an earlier one's."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._values: dict[str, str] = {}
        self._defined: dict[str, Placed[str]] = {}
        self._used: set[str] = set()
        self._broken: set[str] = set()
        """Those whose values are no texts, which is reported elsewhere."""

    def read(self, file: str, root: Mapping) -> None:
        """Take the vars of one file; what is no text is reported elsewhere."""
        written = root.get("vars")
        if not isinstance(written, Mapping):
            return
        for name, value in written.items():
            if not isinstance(value, Text):
                self._broken.add(str(name))
            else:
                self._values[str(name)] = str(value)
                self._defined[str(name)] = Placed(str(name), file, written.key_at(name))
                if SIGN in value:
                    message = f"the value of {str(name)!r} holds `${{var.`, and no var is put into a var; write it out"
                    self._findings.warn(file, value, message, rule="var-in-var", record=str(name))

    def expand(self, file: str, root: Mapping) -> None:
        """Put the vars into all values of a file, in place."""
        for key, value in root.items():
            if key not in _NOT_EXPANDED:
                root[key] = _Expansion(self, file, self._findings, topics=key in _GRANTS).run(value)

    def put(self, text: str, *, topic: bool) -> str:
        """The text with its vars; `topic` where ``$${`` is read as a literal later on.

        Raises:
            WrongVar: no such var, or the text becomes too long.
        """
        if SIGN not in text:
            return text
        found = list(_REFERENCE.finditer(text))
        names = [one[1] for one in found if one[0] != "$${var."]
        for name in names:
            if name is None:
                raise WrongVar("", "`${var.` without a name and `}`; write `${var.NAME}`, or `$${var.` for the text")
            if name not in self._values:
                raise WrongVar(name, "" if name in self._broken else "is not defined")
        if len(text) + sum(len(self._values[name]) for name in names) > MAX_TEXT:
            raise WrongVar("", "a text that its vars make too long; shorten it")
        self._used.update(names)
        literal = "$${var." if topic else SIGN
        return _REFERENCE.sub(lambda one: literal if one[1] is None else self._values[one[1]], text)

    def put_all(self, value: Any, *, topic: bool = False) -> Any:
        """The same for all texts of a row.

        Raises:
            WrongVar: as `put`.
        """
        if isinstance(value, str):
            return self.put(value, topic=topic)
        if isinstance(value, list):
            return [self.put_all(one, topic=topic) for one in value]
        if isinstance(value, dict):
            return {key: self.put_all(one, topic=key in _ACTIONS) for key, one in value.items()}
        return value

    def expand_row(self, file: str, row: Mapping) -> None:
        """The same for a row whose values have places; mistakes are reported."""
        _Expansion(self, file, self._findings, topics=True).run(row)

    def warn_unused(self) -> None:
        """Warn of vars that nothing refers to."""
        for name, defined in self._defined.items():
            if name not in self._used:
                message = f"the var {name!r} is not used; leave it out"
                self._findings.warn(defined.file, defined.at, message, rule="unused-var", record=name)

    def sentence(self, wrong: WrongVar, *, private: bool) -> str:
        """What is wrong, and what to do; nothing where it is said already."""
        if not wrong.name or wrong.name in self._broken:
            return str(wrong)
        shown = "a var that" if private else f"the var {wrong.name!r}"
        close = difflib.get_close_matches(wrong.name, self._values, n=1)
        mend = f"did you mean {close[0]!r}?" if close and not private else "add it to `vars`"
        return f"{shown} {wrong}; {mend}"


class _Expansion:
    """One walk through a value and all that is within it."""

    def __init__(self, known: Vars, file: str, findings: Findings, *, topics: bool) -> None:
        self._vars = known
        self._file = file
        self._findings = findings
        self._topics = topics
        """Whether ``$${`` under the keys of topics stays as it is."""
        self._seen: set[int] = set()
        self._room = MAX_BYTES

    def run(self, value: Value) -> Value:
        return self._walk(value, topic=False, private=False)

    def _walk(self, value: Value, *, topic: bool, private: bool) -> Value:
        if isinstance(value, Text):
            return self._put(value, topic=topic, private=private) if SIGN in value else value
        if id(value) in self._seen:
            # An alias: the value is expanded where its anchor stands.
            return value
        self._seen.add(id(value))
        if isinstance(value, Items):
            value[:] = [self._walk(one, topic=topic, private=private) for one in value]
        elif isinstance(value, Mapping):
            for key, one in value.items():
                within = private or bool(PRIVATE.search(key))
                value[key] = self._walk(one, topic=self._topics and key in _ACTIONS, private=within)
        return value

    def _put(self, text: Text, *, topic: bool, private: bool) -> Text | Nothing:
        try:
            made = self._vars.put(text, topic=topic)
        except WrongVar as wrong:
            return self._wrong(text, self._vars.sentence(wrong, private=private))
        self._room -= len(made)
        if self._room < 0:
            return self._wrong(text, "vars that make more of this file than a file may be; shorten them")
        return text_at(made, text, plain=text.plain)

    def _wrong(self, text: Text, message: str) -> Nothing:
        """Report it; nobody shall find the text wrong a second time."""
        if message:
            self._findings.error(self._file, text, message)
        nothing = Nothing()
        nothing.line, nothing.column = text.line, text.column
        return nothing
