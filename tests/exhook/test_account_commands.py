"""`exhook access-key`, `token`, `token-key`, and `explain` and `sign` for account modes."""

import json
from pathlib import Path
from typing import Any

import pytest
from commands_under_test import Exhook
from worker_under_test import INSTANCE, Store, permission, secret

from store.account_records import AccessKey, DeviceCredential
from store.bindings import Bindings
from store.changes import revisions
from store.clock import now_ms
from store.credentials import sign
from store.database import Database
from store.records import Grantee, Instance
from store.runtime import Runtime
from store.tables import ACCESS_KEYS, TOKEN_KEYS, TOKENS
from store.token_mode import Binding, bound, read_offer
from store.tokens import token_keys

SEED_CLIENT = "GID_Test@@@0001"
SEED_PASSWORD = "vI009IZJZVGRwBwZvnbwjfuXxVM="
KEY = AccessKey(access_key_id="YYYYY", secrets=(secret("1", b"XXXXX"),), instances=(INSTANCE,), connect=True)
SIGNATURE = f"Signature|YYYYY|{INSTANCE}"
TOKEN = f"Token|YYYYY|{INSTANCE}"


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def created(exhook: Exhook, *arguments: str) -> dict[str, Any]:
    said = exhook("access-key", "create", "--json", *arguments)
    assert said.code == 0, said.err
    made: dict[str, Any] = json.loads(said.out)
    return made


def issued(exhook: Exhook, *arguments: str) -> dict[str, Any]:
    said = exhook("token", "issue", "--json", "--access-key", "YYYYY", "--for", "1h", *arguments)
    assert said.code == 0, said.err
    made: dict[str, Any] = json.loads(said.out)
    return made


def last_actor(store: Store) -> str:
    with Database.open(store.path, store.keys) as database:
        return revisions(database.connection)[0].actor


class TestAccessKeys:
    def test_its_secret_is_shown_once_and_proves(self, exhook: Exhook, store: Store) -> None:
        made = created(exhook, "--connect", "--call", "ApplyToken", "--note", "app")
        key_id, value = made["access_key_id"], made["secret"].encode()
        assert made["instances"] == [INSTANCE]
        said = exhook("access-key", "list", "--json")
        assert value.decode() not in said.out
        assert json.loads(said.out)[0]["calls"] == ["ApplyToken"]
        signed = exhook("sign", "--username", f"Signature|{key_id}|{INSTANCE}", "--client-id", "c1").out.strip()
        assert signed.encode() == sign(value, "c1")
        assert last_actor(store)

    def test_a_rotation_keeps_the_newest_secret_beside_the_fresh_one(self, exhook: Exhook, store: Store) -> None:
        first = created(exhook, "--id", "app")["secret"]
        second = json.loads(exhook("access-key", "rotate", "app", "--json").out)["secret"]
        third = json.loads(exhook("access-key", "rotate", "app", "--json", "--keep", "7d").out)["secret"]
        with Database.open(store.path, store.keys) as database:
            key = database.get(ACCESS_KEYS, ("app",))
        assert key is not None
        values = {one.id: (one.value.decode(), one.expires_at) for one in key.secrets}
        assert set(values) == {"2", "3"}
        assert (values["2"][0], values["3"]) == (second, (third, None))
        assert values["2"][1] == pytest.approx(now_ms() + 7 * 24 * 3_600_000, abs=60_000)
        assert len({first, second, third}) == 3

    def test_disabled_and_enabled(self, exhook: Exhook, store: Store) -> None:
        store.put(KEY)
        with (
            Database.open(store.path, store.keys) as database,
            database.writing(actor="t", source="api", now_ms=1) as write,
        ):
            write.remove(KEY)
        created(exhook, "--id", "app")
        assert exhook("access-key", "disable", "app").out == "app: disabled\n"
        assert "not active" in exhook("access-key", "list").out
        assert exhook("access-key", "disable", "app").out == "app: was not active\n"
        assert exhook("access-key", "enable", "app").out == "app: enabled\n"

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (("create", "--id", "a|b"), 64, "is no key id"),
            (("create", "--call", "Everything"), 64, "is no call of the API"),
            (("create", "--instance", "mqtt-gone"), 64, "there is no instance 'mqtt-gone'"),
            (("create", "--expires", "soon"), 64, "no moment"),
            (("create", "--id", "YYYYY"), 64, "already"),
            (("rotate", "gone"), 64, "there is no access key 'gone'"),
            (("rotate", "YYYYY", "--keep", "1y"), 64, "no duration"),
            (("disable", "owned"), 4, "belongs to the policy plant; change it there"),
            (("rotate", "owned"), 4, "belongs to the policy plant"),
        ],
        ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
    )
    def test_what_cannot_be(
        self, exhook: Exhook, store: Store, arguments: tuple[str, ...], code: int, sentence: str
    ) -> None:
        owned = AccessKey(access_key_id="owned", secrets=(secret("1", b"x"),), instances=(INSTANCE,), source="plant")
        store.put(KEY, owned)
        said = exhook("access-key", *arguments)
        assert (said.code, said.out) == (code, "")
        assert sentence in said.err

    def test_of_several_instances_one_is_to_be_named(self, exhook: Exhook, store: Store) -> None:
        store.put(Instance(name="mqtt-two"))
        assert exhook("access-key", "create").code == 64
        assert exhook("access-key", "create", "--instance", "mqtt-two", "--instance", INSTANCE).code == 0


class TestTokens:
    @pytest.fixture(autouse=True)
    def key(self, store: Store) -> None:
        store.put(KEY, permission("YYYYY", "a/#", to=Grantee.ACCESS_KEY))

    def test_one_is_issued_shown_and_revoked(self, exhook: Exhook, store: Store) -> None:
        made = issued(exhook, "--resource", "a/#", "--resource", "a/b", "--actions", "R")
        text = made["token"].encode()
        said = exhook("token", "show", "-", "--json", stdin=text + b"\n")
        assert (said.code, json.loads(said.out)["standing"]) == (0, "good")
        assert exhook("token", "show", made["token_id"]).code == 0
        listed = exhook("token", "list").out
        assert made["token_id"] in listed
        assert made["token"] not in listed
        assert exhook("token", "revoke", "-", stdin=text).out == f"{made['token_id']}: revoked\n"
        assert exhook("token", "list").out == ""
        assert "revoked" in exhook("token", "list", "--all", "--access-key", "YYYYY").out
        said = exhook("token", "show", "-", stdin=text)
        assert (said.code, said.out.split(":")[0]) == (1, "revoked")
        assert last_actor(store)

    def test_without_json_the_token_alone_is_printed(self, exhook: Exhook) -> None:
        said = exhook("token", "issue", "--access-key", "YYYYY", "--resource", "a/#", "--for", "30m")
        assert (said.code, said.err) == (0, "")
        assert said.out.startswith("T1.")

    @pytest.mark.parametrize(
        ("arguments", "code", "sentence"),
        [
            (("--resource", "b", "--for", "1h"), 4, "no permission that covers"),
            (("--resource", "a/x", "--for", "30s"), 4, "ends within 60 s"),
            (("--resource", "a/#/x", "--for", "1h"), 64, "elsewhere than alone"),
            (("--resource", "a/x"), 64, "how long shall it hold?"),
            (("--resource", "a/x", "--for", "1h", "--until", "2037-01-01"), 64, "how long shall it hold?"),
            (("--resource", "a/x", "--for", "1h", "--actions", "R,W"), 64, "write R, W or RW"),
            (("--resource", "a/x", "--for", "1h", "--instance", "mqtt-two"), 4, "does not count in"),
        ],
        ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
    )
    def test_what_is_not_issued(
        self, exhook: Exhook, store: Store, arguments: tuple[str, ...], code: int, sentence: str
    ) -> None:
        said = exhook("token", "issue", "--access-key", "YYYYY", *arguments)
        assert (said.code, said.out) == (code, "")
        assert sentence in said.err
        with Database.open(store.path, store.keys) as database:
            assert not list(database.records(TOKENS))

    @pytest.mark.parametrize("command", ["show", "revoke"])
    def test_one_that_is_not_there(self, exhook: Exhook, command: str) -> None:
        assert exhook("token", command, "nothing").code == (1 if command == "show" else 64)
        assert exhook("token", command, "-", stdin=b"forged").code == (1 if command == "show" else 64)

    def test_token_keys_rotate_and_retire(self, exhook: Exhook, store: Store) -> None:
        old = issued(exhook, "--resource", "a/x")["token"]
        assert exhook("token-key", "rotate").code == 0
        signs, verifies = json.loads(exhook("token-key", "list", "--json").out)
        new = issued(exhook, "--resource", "a/x")["token"]
        assert (old.split(".")[1], new.split(".")[1]) == (verifies, signs)
        assert exhook("token-key", "list").out == f"{signs}  signs\n{verifies}  verifies\n"
        assert exhook("token", "show", "-", stdin=old.encode()).code == 0
        assert exhook("token-key", "retire", verifies).code == 0
        assert exhook("token-key", "retire", verifies).code == 64
        assert exhook("token", "show", "-", stdin=old.encode()).out == "forged\n"
        with Database.open(store.path, store.keys) as database:
            assert [key.name for key in database.records(TOKEN_KEYS)] == [signs]


class TestExplainAndSign:
    def explained(self, exhook: Exhook, *arguments: str, password: str | None = None) -> tuple[int, str]:
        more = () if password is None else ("--password-stdin",)
        said = exhook("explain", "--json", *more, *arguments, stdin=(password or "").encode())
        return said.code, json.loads(said.out)["reason"] if said.out else said.err

    def test_the_seed_s_example(self, exhook: Exhook, store: Store) -> None:
        store.put(KEY)
        whose = ("--username", SIGNATURE, "--client-id", SEED_CLIENT)
        assert exhook("sign", *whose).out == f"{SEED_PASSWORD}\n"
        assert exhook("sign", *whose, "--secret-id", KEY.secrets[0].id).out == f"{SEED_PASSWORD}\n"
        assert self.explained(exhook, *whose, "connect", password=SEED_PASSWORD) == (0, "allowed")
        assert self.explained(exhook, *whose, "connect", password="x") == (1, "wrong_password")
        code, sentence = self.explained(exhook, *whose, "connect")
        assert (code, "access_key YYYYY" in sentence) == (2, True)

    def test_a_device_s_credential(self, exhook: Exhook, store: Store) -> None:
        store.put(
            DeviceCredential(
                instance=INSTANCE, client_id="c1", device_access_key_id="DC.1", secrets=(secret("1", b"device"),)
            )
        )
        name = f"DeviceCredential|DC.1|{INSTANCE}"
        signed = exhook("sign", "--username", name, "--client-id", "c1").out.strip()
        assert self.explained(exhook, "--username", name, "--client-id", "c1", "connect", password=signed)[0] == 0
        for wrong in (("--username", name, "--client-id", "c2"), ("--username", name + "x", "--client-id", "c1")):
            assert exhook("sign", *wrong).code == 2
        assert exhook("sign", "--username", TOKEN, "--client-id", "c1").code == 2

    def test_tokens_by_the_password_or_by_what_is_bound(self, exhook: Exhook, store: Store) -> None:
        store.put(KEY, permission("YYYYY", "a/#", to=Grantee.ACCESS_KEY))
        text = f"RW|{issued(exhook, '--resource', 'a/#')['token']}"
        whose = ("--username", TOKEN, "--client-id", "c1")
        assert self.explained(exhook, *whose, "connect", password=text) == (0, "allowed")
        assert self.explained(exhook, *whose, "connect")[0] == 2
        assert self.explained(exhook, *whose, "connect", password="RW|x") == (1, "forged_token")
        assert self.explained(exhook, *whose, "publish", "a/x", password=text) == (0, "allowed")
        assert self.explained(exhook, *whose, "publish", "b", password=text) == (1, "token_scope")
        assert self.explained(exhook, *whose, "publish", "a/x") == (1, "no_binding")
        with Runtime.open(store.path) as runtime, Database.open(store.path, store.keys) as database:
            tokens = bound(read_offer(text.encode()) or {}, token_keys(database))
            binding = Binding(INSTANCE, "YYYYY", tokens, "10.0.0.1", 5)
            Bindings(runtime).bind("default", "c1", binding, now_ms())
        assert self.explained(exhook, *whose, "publish", "a/x") == (0, "allowed")
        said = exhook("explain", *whose, "publish", "b")
        assert "nearest: token " in said.out
        assert "RW" not in said.out
