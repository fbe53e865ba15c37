"""Mosquitto's ``password_file``: a user name and a hash a line, as ``mosquitto_passwd`` writes them."""

from collections.abc import Sequence
from typing import Final

from store.sync.findings import InvalidPolicy
from store.sync.importing.imported import Imported, ImportedIdentity
from store.sync.importing.original import Original, Spot, all_of, malformed

_NEW_PASSWORD: Final = "give the user a new password: `exhook-sync hash` makes its line"  # noqa: S105 - a sentence
_DIFFERENCES: Final = (
    "Mosquitto: `allow_anonymous true` lets clients in without a user name. Here nobody is let in without an identity.",
)
_UNSAFE: Final = "+#"


def import_passwords(originals: Sequence[Original]) -> Imported:
    """The identities that password files stand for.

    Raises:
        InvalidPolicy: a user name that is missing, or given twice.
    """
    made = Imported()
    faults: list[InvalidPolicy] = []
    first: dict[str, Spot] = {}
    for original in originals:
        for at, line in original.lines():
            try:
                _line(at, line, first, made)
            except InvalidPolicy as wrong:
                faults.append(wrong)
    if faults:
        raise all_of(faults)
    for sentence in _DIFFERENCES:
        made.leftovers.differs(sentence)
    return made


def _line(at: Spot, line: str, first: dict[str, Spot], made: Imported) -> None:
    # No sentence quotes what stands behind the colon, nor a line without one: it may be a password.
    if line.startswith("#") or not line.strip():
        return
    if ":" not in line:
        made.leftovers.note(at, "a line without a colon", "Mosquitto passes over it, too")
        return
    name, _, rest = line.partition(":")
    username, hash_ = name.strip(), rest.partition(":")[0].strip()
    if not username:
        raise malformed(at.file, at.line, 1, "no user name before the colon; write NAME:HASH")
    if username in first:
        message = f"the user {username!r} is given twice, first at {first[username]}; leave one out"
        raise malformed(at.file, at.line, 1, message)
    first[username] = at
    what = f"user {username!r}"
    if not hash_.startswith("$"):
        why = "its password is not hashed, and Mosquitto takes none such" if hash_ else "it has no password"
        instead = "hash a copy of the file by `mosquitto_passwd -U`, and import that" if hash_ else _NEW_PASSWORD
        made.leftovers.left_out(at, what, why, instead)
    elif any(char in _UNSAFE for char in username):
        why = "Mosquitto gives nothing by `pattern` lines to a user name with + or # in it; here it could get something"
        made.leftovers.left_out(at, what, why, "give it another name, or add the identity by hand")
    else:
        made.add_identity(ImportedIdentity(username=username, hash=hash_), at, _NEW_PASSWORD)
