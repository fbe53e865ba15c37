import base64
import hashlib
from pathlib import Path

import pytest
from imports_under_test import Installed, losses, told, written

from store.hashes import parse_hash
from store.sync.findings import InvalidPolicy
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Sort
from store.sync.importing.mosquitto_passwords import import_passwords
from store.sync.importing.original import Original

DATA = Path(__file__).parent / "data"
SALT = b"twelve bytes"
ARGON2 = "$argon2id$v=19$m=8,t=1,p=1$ypnnCd/iXDIvfGB3UtLpcw$GqEnBreevA//DWgNfCtwzhc+3vHiPONfkoCbZppMSr8"
"""Mosquitto 2.1 takes them, too."""


def passwords(text: str) -> Imported:
    return import_passwords([Original("passwd", text)])


def base64ed(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def pbkdf2(password: str, iterations: int = 101) -> str:
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), SALT, iterations, 64)
    return f"$7${iterations}${base64ed(SALT)}${base64ed(digest)}"


def sha512(password: str) -> str:
    return f"$6${base64ed(SALT)}${base64ed(hashlib.sha512(password.encode() + SALT).digest())}"


def test_what_mosquitto_passwd_wrote(tmp_path: Path) -> None:
    """The file was made by the `mosquitto_passwd` of 2.0.11, by `-c -b` and `-H sha512 -b`."""
    made = import_passwords([Original.read(DATA / "passwd")])
    assert losses(made) == []
    with Installed(tmp_path, written(made)) as store:
        assert store.connects("anna", "c1", b"correct horse")
        assert store.connects("bob", "c1", b"battery: staple")
        assert not store.connects("anna", "c1", b"battery: staple")
        assert not store.connects("bob", "c1", b"")


@pytest.mark.parametrize("hashed", [pbkdf2("one"), pbkdf2("one", 5), sha512("one"), ARGON2])
def test_hashes_are_taken_as_they_are(hashed: str) -> None:
    made = passwords(f"# users\n\n anna : {hashed} \r\n")
    assert losses(made) == []
    assert [(one.username, one.hash) for one in made.identities] == [("anna", hashed)]
    assert parse_hash(made.identities[0].hash).verify(b"one")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("anna:Canary-4711", "its password is not hashed"),
        ("anna:Canary-4711:more", "its password is not hashed"),
        ("anna:", "it has no password"),
        ("anna:$8$Canary-4711$x", "of no known scheme"),
        ("anna:$7$9999999$Q2Fu$Q2Fu", "iterations 9999999"),
        ("anna:$6$Q2Fu$Q2Fu", "digest bytes 3"),
        (f"an+na:{pbkdf2('x')}", "user name with + or #"),
        (f"an#na:{pbkdf2('x')}", "user name with + or #"),
        (f"Token|a|b:{pbkdf2('x')}", "begins like an account mode's"),
    ],
)
def test_what_cannot_be_an_identity_is_left_out(line: str, why: str) -> None:
    made = passwords(f"first:{pbkdf2('x')}\n{line}\n")
    assert [one.username for one in made.identities] == ["first"]
    (lost,) = losses(made)
    assert lost.startswith("passwd:2: left out: user ")
    assert why in lost
    for secret in ("Canary-4711", "Q2Fu", pbkdf2("x")):
        assert secret not in lost


def test_what_mosquitto_passes_over_is_not_quoted() -> None:
    made = passwords("Canary-4711\n#anna:x\n")
    (note,) = told(made, Sort.NOTE)
    assert note == "passwd:1: note: a line without a colon: Mosquitto passes over it, too"
    assert made.identities == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f":{pbkdf2('x')}", "1:1: no user name before the colon; write NAME:HASH"),
        ("  :$7$x", "1:1: no user name before the colon; write NAME:HASH"),
        (
            "anna:$7$a\nbob:$7$b\nanna:$7$c",
            "3:1: the user 'anna' is given twice, first at passwd:1; leave one out",
        ),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        passwords(text)
    assert str(raised.value) == f"passwd:{message}"


def test_files_are_read_as_one() -> None:
    files = [Original(name, f"{name}:{pbkdf2(name)}\n") for name in ("one", "two")]
    assert [one.username for one in import_passwords(files).identities] == ["one", "two"]
