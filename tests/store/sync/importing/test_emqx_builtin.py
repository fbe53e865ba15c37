import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from imports_under_test import Installed, losses, permissions, told, written

from store.hashes import parse_hash
from store.sync.exit_codes import Usage
from store.sync.findings import InvalidPolicy
from store.sync.importing.emqx_builtin import import_builtin
from store.sync.importing.emqx_hashes import Algorithm, Hashing, SaltPosition
from store.sync.importing.imported import Imported
from store.sync.importing.leftovers import Sort
from store.sync.importing.original import Original

SALT = "de1024f462fb83910fd13151bd4bd235"
PASSWORD = "correct horse"
BCRYPT = "$2b$04$o79Yg9RFRoNt.soaUoxYJ.sAIOTDtJomvBZqXdAYmzxDMNosZvNtu"
PREFIX = Hashing(Algorithm.SHA256, SaltPosition.PREFIX)
SUFFIX = Hashing(Algorithm.SHA256, SaltPosition.SUFFIX)
PBKDF2 = Hashing(Algorithm.PBKDF2, mac_fun="sha256", iterations=4096)


def builtin(text: str, hashing: Hashing = PREFIX) -> Imported:
    return import_builtin([Original("users", text)], hashing)


def csv(**columns: str) -> str:
    return f"{','.join(columns)}\n{','.join(columns.values())}\n"


def sha(name: str, text: str) -> str:
    return hashlib.new(name, text.encode()).hexdigest()


def pbkdf2(name: str, size: int | None = None) -> str:
    return hashlib.pbkdf2_hmac(name, PASSWORD.encode(), SALT.encode(), 4096, size).hex()


VECTORS = [
    (sha("sha256", SALT + PASSWORD), SALT, PREFIX),
    (sha("sha256", SALT + PASSWORD).upper(), SALT, PREFIX),
    (sha("sha256", PASSWORD + SALT), SALT, SUFFIX),
    (sha("sha256", PASSWORD), "", PREFIX),
    (sha("sha256", PASSWORD), SALT, Hashing(Algorithm.SHA256, SaltPosition.DISABLE)),
    (sha("sha512", PASSWORD + SALT), SALT, Hashing(Algorithm.SHA512, SaltPosition.SUFFIX)),
    (pbkdf2("sha256"), SALT, PBKDF2),
    (pbkdf2("sha512"), SALT, Hashing(Algorithm.PBKDF2, mac_fun="sha512", iterations=4096)),
    (pbkdf2("sha256", 16), SALT, PBKDF2),
    (BCRYPT, "", Hashing(Algorithm.BCRYPT)),
    (BCRYPT, "", Hashing()),
    (PASSWORD, "", Hashing(Algorithm.PLAIN)),
]


@pytest.mark.parametrize(("stored", "salt", "hashing"), VECTORS)
@pytest.mark.parametrize("form", ["csv", "json"])
def test_the_password_proves_the_imported_hash(
    stored: str, salt: str, hashing: Hashing, form: str, tmp_path: Path
) -> None:
    said = {"user_id": "anna", "password_hash": stored, "salt": salt, "is_superuser": "false"}
    made = builtin(csv(**said) if form == "csv" else json.dumps([said | {"is_superuser": False}]), hashing)
    assert losses(made) == []
    (identity,) = made.identities
    assert identity.username == "anna"
    assert parse_hash(identity.hash).verify(PASSWORD.encode())
    assert not parse_hash(identity.hash).verify(b"wrong")
    with Installed(tmp_path, written(made)) as store:
        assert store.connects("anna", "c1", PASSWORD.encode())
        assert not store.connects("anna", "c1", b"wrong")
        assert not store.connects("bob", "c1", PASSWORD.encode())


def test_the_hashes_of_emqx_own_documentation_are_taken() -> None:
    made = builtin(
        "user_id,password_hash,salt,is_superuser\n"
        "myuser3,b6c743545a7817ae8c8f624371d5f5f0373234bb0ff36b8ffbf19bce0e06ab75,de1024f462fb83910fd13151bd4bd235,true\n"
        "myuser4,ee68c985a69208b6eda8c6c9b4c7c2d2b15ee2352cdd64a903171710a99182e8,ad773b5be9dd0613fe6c2f4d8c403139,false\n"
    )
    assert [one.username for one in made.identities] == ["myuser3", "myuser4"]
    (lost,) = losses(made)
    assert lost.startswith("users:2: left out: user 'myuser3': is_superuser: EMQX lets a superuser do everything")


def test_passwords_in_plain_text_are_hashed() -> None:
    made = builtin("user_id,password,is_superuser\nanna,Canary-4711,false\n")
    assert "Canary-4711" not in written(made)
    assert made.identities[0].hash.startswith("$argon2id$")
    assert parse_hash(made.identities[0].hash).verify(b"Canary-4711")


@pytest.mark.parametrize(
    ("stored", "salt", "hashing", "why"),
    [
        (sha("md5", PASSWORD), SALT, Hashing(Algorithm.MD5, SaltPosition.PREFIX), "md5 with the salt as prefix"),
        (sha("sha1", PASSWORD), SALT, Hashing(Algorithm.SHA, SaltPosition.SUFFIX), "sha with the salt as suffix"),
        (
            sha("sha512", PASSWORD),
            SALT,
            Hashing(Algorithm.SHA512, SaltPosition.PREFIX),
            "sha512 with the salt as prefix",
        ),
        (
            sha("sha512", PASSWORD),
            "",
            Hashing(Algorithm.SHA512, SaltPosition.DISABLE),
            "sha512 with the salt as disable",
        ),
        (pbkdf2("sha384"), SALT, Hashing(Algorithm.PBKDF2, mac_fun="sha384", iterations=9), "pbkdf2 with sha384"),
        (
            pbkdf2("sha256"),
            SALT,
            Hashing(Algorithm.PBKDF2, mac_fun="sha256", iterations=3_000_000),
            "iterations 3000000",
        ),
        (pbkdf2("sha256", 8), SALT, PBKDF2, "digest bytes 8"),
        ("Canary-no-hex", SALT, PREFIX, "the stored hash is none by sha256 with the salt as prefix"),
        ("Canary-no-hex", SALT, PBKDF2, "the stored hash is none by pbkdf2 with sha256"),
        ("$2b$10$Canary", "", Hashing(Algorithm.BCRYPT), "of no known scheme"),
        ("Canary", "salted", Hashing(Algorithm.PLAIN), "a hash by plain"),
        ("", "", PREFIX, "the file holds no hash"),
    ],
)
def test_a_hash_that_cannot_be_verified_is_left_out(stored: str, salt: str, hashing: Hashing, why: str) -> None:
    made = builtin(json.dumps([{"user_id": "anna", "password_hash": stored, "salt": salt}]), hashing)
    assert made.identities == []
    (lost,) = losses(made)
    assert lost.startswith("users:1: left out: user 'anna': ")
    assert why in lost
    assert "give the user a new password" in lost
    assert "Canary" not in lost + repr(made)
    assert not stored or stored not in lost


@pytest.mark.parametrize(
    ("stored", "hashing", "option"),
    [
        (sha("sha256", "x"), Hashing(), "--salt-position"),
        (sha("sha512", "x"), Hashing(Algorithm.SHA512), "--salt-position"),
        (pbkdf2("sha256"), Hashing(Algorithm.PBKDF2), "--mac-fun"),
        (pbkdf2("sha256"), Hashing(Algorithm.PBKDF2, mac_fun="sha256"), "--iterations"),
    ],
)
def test_what_the_export_does_not_say_has_to_be_said(stored: str, hashing: Hashing, option: str) -> None:
    with pytest.raises(Usage, match=f"{option} is missing"):
        builtin(csv(user_id="anna", password_hash=stored, salt=SALT), hashing)


@pytest.mark.parametrize("name", ["", "Token|x|y", "a\x00b"])
def test_names_that_cannot_be_are_left_out_or_refused(name: str) -> None:
    text = json.dumps([{"user_id": name, "password_hash": sha("sha256", "x")}])
    if not name:
        with pytest.raises(InvalidPolicy, match="neither a user nor rules"):
            builtin(text)
    else:
        assert builtin(text).identities == []
        assert len(losses(builtin(text))) == 1


def test_a_user_of_a_namespace_is_left_out() -> None:
    made = builtin(json.dumps([{"user_id": "anna", "password_hash": sha("sha256", "x"), "namespace": "one"}]))
    assert made.identities == []
    assert "it belongs to a namespace of EMQX" in losses(made)[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1:1: an empty file"),
        ("anna,secret\n", "1:1: no column user_id"),
        ("user_id,user_id\n", "1:1: no column user_id"),
        ("user_id,password_hash\nanna\n", "2:1: 1 columns, where the first line names 2"),
        ('user_id,password_hash\n\n"anna\n', "3:1: no CSV from here on"),
        ("user_id\nanna\nbob\nanna\n", "4:1: the user 'anna' is given twice, first at users:2"),
        ('[{"user_id": 1}]', "1:2: neither a user nor rules"),
        ('[{"user_id": "a"},\n {"user_id": "a"}]', "2:1: the user 'a' is given twice, first at users:1"),
        ("{}", "1:1: no users and no rules"),
        ("[1]", "1:2: neither a user nor rules"),
        ('{"data": [{"username": "a", "rules": [{"permission": "may"}]}]}', "1:39: no rule"),
        ('[{"rules": [{"permission": "allow", "action": "publish"}]}]', "1:13: no rule"),
    ],
)
def test_what_emqx_does_not_make_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidPolicy) as raised:
        builtin(text)
    assert str(raised.value).startswith(f"users:{message}")


def test_lines_of_a_csv_are_counted_as_an_editor_does() -> None:
    made = builtin('user_id,password_hash\n"a\nb",\n\nanna,\n')
    assert [str(one.at) for one in made.leftovers.of(Sort.LEFT_OUT)] == ["users:2", "users:5"]


def rules(*blocks: dict[str, Any]) -> Imported:
    return builtin(json.dumps({"data": list(blocks), "meta": {"count": len(blocks)}}))


def rule(permission: str, action: str, topic: str, **more: Any) -> dict[str, Any]:
    return {"permission": permission, "action": action, "topic": topic, "qos": [0, 1, 2], "retain": "all", **more}


def test_rules_are_asked_client_user_everyone() -> None:
    made = rules(
        {"rules": [rule("allow", "all", "#")]},
        {"username": "anna", "rules": [rule("deny", "publish", "a/#"), rule("allow", "sub", "eq a/b")]},
        {"clientid": "c1", "rules": [rule("deny", "pub", "x")]},
    )
    assert permissions(made) == [
        {"username": "anna", "subscribe": ["a/b"], "deny": {"publish": ["a/#"]}},
        {"everyone": True, "both": ["#"]},
        {"client_id": "c1", "deny": {"publish": ["x"]}},
    ]
    assert losses(made) == []


def test_a_clients_grant_below_which_a_user_is_denied() -> None:
    made = rules(
        {"username": "anna", "rules": [rule("deny", "publish", "x"), rule("allow", "publish", "#")]},
        {"clientid": "c1", "rules": [rule("allow", "publish", "x")]},
    )
    assert permissions(made) == [
        {"client_id": "c1", "publish": ["x"]},
        {"username": "anna", "publish": ["#"], "deny": {"publish": ["x"]}},
    ]
    assert "does not reach over the denial of x" in losses(made)[0]


@pytest.mark.parametrize("more", [{"qos": [1]}, {"qos": "0,1"}, {"qos": 2}, {"retain": True}, {"retain": "true"}])
def test_conditions_on_qos_and_retain(more: dict[str, Any]) -> None:
    made = rules({"username": "anna", "rules": [rule("allow", "publish", "a", **more)]})
    assert permissions(made) == []
    assert "conditions on QoS and retain" in losses(made)[0]


def test_other_conditions() -> None:
    made = rules({"username": "anna", "rules": [rule("allow", "publish", "a", ipaddr="10.0.0.1")]})
    assert permissions(made) == []
    assert "the condition ipaddr is not known here" in losses(made)[0]


def test_the_rules_of_everyone_as_the_api_gives_them() -> None:
    made = builtin(
        json.dumps({"rules": [rule("allow", "publish", "a"), {**rule("deny", "all", "b"), "topics": ["c"]}]})
    )
    assert permissions(made) == [{"everyone": True, "publish": ["a"], "deny": {"both": ["c"]}}]


def test_users_and_rules_of_one_database() -> None:
    users = Original("users.csv", csv(user_id="anna", password_hash=sha("sha256", SALT + "x"), salt=SALT))
    granted = Original("rules.json", json.dumps([{"username": "anna", "rules": [rule("allow", "publish", "a")]}]))
    made = import_builtin([users, granted], PREFIX)
    assert [one.username for one in made.identities] == ["anna"]
    assert permissions(made) == [{"username": "anna", "publish": ["a"]}]
    assert told(made) == []
