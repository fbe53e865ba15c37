"""HOCON as EMQX's API prints it: read, and nothing more.

What it prints is plain: no include, no substitution. A reader that followed those would let a broker have us open
files and addresses of its choice.
"""

import json
import re
from typing import Any, Final

_TOKEN: Final = re.compile(
    r"""
    [ \t\r]* (?: (?:\#|//)[^\n]*
      | (?P<end>[\n,])
      | (?P<mark>[{}\[\]=:])
      | \"{3}(?P<long>.*?)\"{3}(?!\")
      | (?P<quoted>"(?:[^"\\\n]|\\.)*")
      | (?P<word>[^\s{}\[\],=:"\#$`^?!*&\\]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?")
_WORDS: Final = {"true": True, "false": False, "null": None}
_MOST: Final = 4_000_000
"""Characters; a configuration is a hundredth of that."""
_DEEPEST: Final = 64

Token = tuple[str, str]


class NotHocon(ValueError):
    """The text is something else; the message says where."""


def read_hocon(text: str) -> dict[str, Any]:
    """The object that a text describes; durations and sizes stay texts.

    Raises:
        NotHocon: it describes none.
    """
    if len(text) > _MOST:
        raise NotHocon(f"longer than {_MOST:,} characters")
    reading = _Reading(_tokens(text))
    made = reading.fields("")
    if reading.at < len(reading.tokens):
        raise NotHocon(f"a {reading.tokens[reading.at][1]!r} too many")
    return made


def _tokens(text: str) -> list[Token]:
    found, at = [], 0
    while at < len(text.rstrip(" \t\r")):
        match = _TOKEN.match(text, at)
        if match is None or match.end() == at:
            raise NotHocon(f"line {text.count(chr(10), 0, at) + 1} cannot be read")
        at = match.end()
        if match.lastgroup:
            found.append((match.lastgroup, match[match.lastgroup]))
    return found


class _Reading:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self._depth = 0

    def fields(self, closing: str) -> dict[str, Any]:
        """Keys and values up to the closing bracket, or to the end where there is none."""
        made: dict[str, Any] = {}
        while (token := self._next_but_ends()) != ("mark", closing):
            if token is None:
                if closing:
                    raise NotHocon("a bracket is left open")
                break
            key = self._key(token)
            value = self._value()
            holder = made
            for name in key[:-1]:
                inner = holder.setdefault(name, {})
                if not isinstance(inner, dict):
                    raise NotHocon(f"{'.'.join(key)}: no object to stand in")
                holder = inner
            before = holder.get(key[-1])
            # Said twice, objects are joined.
            holder[key[-1]] = before | value if isinstance(before, dict) and isinstance(value, dict) else value
        return made

    def _key(self, token: Token) -> list[str]:
        kind, text = token
        if kind == "quoted":
            return [_unquoted(text)]
        if kind == "word":
            return text.split(".")
        raise NotHocon(f"{text!r} where a key should stand")

    def _value(self) -> Any:
        token = self._next()
        if token in {("mark", "="), ("mark", ":")}:
            token = self._next_but_ends()
        elif token != ("mark", "{"):
            raise NotHocon("a key without a value")
        return self._read(token)

    def _read(self, token: Token | None) -> Any:
        if token is None:
            raise NotHocon("it ends too soon")
        kind, text = token
        if kind == "quoted":
            return _unquoted(text)
        if kind == "long":
            return text
        if kind == "word":
            return self._word(text)
        if text not in {"{", "["}:
            raise NotHocon(f"{text!r} where a value should stand")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise NotHocon("too deep")
        made: Any = self.fields("}") if text == "{" else self._items()
        self._depth -= 1
        return made

    def _word(self, text: str) -> Any:
        """A word, a number, or what stands between with colons in it, such as an address."""
        while self.at < len(self.tokens) and self.tokens[self.at] == ("mark", ":"):
            text += ":" + (self.tokens[self.at + 1][1] if self.at + 1 < len(self.tokens) else "")
            self.at += 2
        if text in _WORDS:
            return _WORDS[text]
        if _NUMBER.fullmatch(text):
            return float(text) if "." in text else int(text)
        return text

    def _items(self) -> list[Any]:
        made = []
        while (token := self._next_but_ends()) != ("mark", "]"):
            made.append(self._read(token))
        return made

    def _next(self) -> Token | None:
        token = self.tokens[self.at] if self.at < len(self.tokens) else None
        self.at += token is not None
        return token

    def _next_but_ends(self) -> Token | None:
        token = self._next()
        while token is not None and token[0] == "end":
            token = self._next()
        return token


def _unquoted(text: str) -> str:
    try:
        made: str = json.loads(text, strict=False)
    except ValueError:
        # Erlang's escapes that JSON does not know.
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return made
