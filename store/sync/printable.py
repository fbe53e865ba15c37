"""Strangers' texts on a terminal."""


def printable(text: str) -> str:
    """A text that cannot move a cursor, colour a line or turn its direction: such characters become escapes."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
