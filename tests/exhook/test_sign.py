"""`exhook sign`: the password of a SIGNED identity for one device, and nothing else."""

import base64
import hashlib
import hmac
from dataclasses import replace
from pathlib import Path

import pytest
from commands_under_test import Exhook
from worker_under_test import INSTANCE, Store, identity, instance, secret

from store.clock import now_ms
from store.records import Instance, SignMode
from store.seal import SealKeys, new_key

DEVICE = "GID_Test@@@0001"
KNOWN_ANSWER = "vI009IZJZVGRwBwZvnbwjfuXxVM="
"""The vendor's: secret XXXXX, this device."""


@pytest.fixture
def exhook(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Exhook:
    return Exhook(capsys, monkeypatch, tmp_path)


def signed(secret_bytes: bytes, device: str = DEVICE, digest: str = "sha1") -> str:
    return base64.b64encode(hmac.new(secret_bytes, device.encode(), digest).digest()).decode()


class TestPasswords:
    def test_the_vendors_known_answer_alone_is_printed(self, exhook: Exhook, store: Store) -> None:
        store.put(identity("sensors", b"XXXXX", mode=SignMode.SIGNED))
        said = exhook("sign", "--username", "sensors", "--client-id", DEVICE)
        assert (said.code, said.out, said.err) == (0, f"{KNOWN_ANSWER}\n", "")

    def test_sha256(self, exhook: Exhook, store: Store) -> None:
        store.put(identity("sensors", b"XXXXX", mode=SignMode.SIGNED_SHA256))
        said = exhook("sign", "--username", "sensors", "--client-id", DEVICE)
        assert said.out == f"{signed(b'XXXXX', digest='sha256')}\n"
        assert hashlib.sha256().digest_size == len(base64.b64decode(said.out))

    def test_the_identity_of_the_client_decides_where_there_is_one(self, exhook: Exhook, store: Store) -> None:
        store.put(
            identity("sensors", b"shared", mode=SignMode.SIGNED),
            identity("sensors", b"own", client_id=DEVICE, mode=SignMode.SIGNED),
        )
        for device, key in ((DEVICE, b"own"), ("other", b"shared")):
            said = exhook("sign", "--username", "sensors", "--client-id", device)
            assert said.out == f"{signed(key, device)}\n"

    @pytest.mark.parametrize(
        ("old", "new", "used"),
        [(1_000_000, None, "new"), (None, 1_000_000, "old"), (1_000_000, 2_000_000, "new"), (-1, 5_000, "new")],
    )
    def test_of_two_live_secrets_the_one_that_lasts_longest(
        self, exhook: Exhook, store: Store, old: int | None, new: int | None, used: str
    ) -> None:
        """The one that a rotation is about to end must not go into another device."""
        secrets = tuple(
            secret(name, name.encode(), expires_at=None if left is None else now_ms() + left)
            for name, left in (("old", old), ("new", new))
        )
        store.put(identity("sensors", mode=SignMode.SIGNED, secrets=secrets))
        said = exhook("sign", "--username", "sensors", "--client-id", DEVICE)
        assert said.out == f"{signed(used.encode())}\n"

    @pytest.mark.parametrize("left", [None, 1_000_000], ids=["for-ever", "until-one-moment"])
    def test_of_two_that_last_equally_long_one_must_be_named(
        self, exhook: Exhook, store: Store, left: int | None
    ) -> None:
        """The new secret of the rotation, as the docs have it, sorts behind the old one; nothing says which it is."""
        until = None if left is None else now_ms() + left
        secrets = tuple(secret(name, name.encode(), expires_at=until) for name in ("2027-01", "2026-08"))
        store.put(identity("sensors", mode=SignMode.SIGNED, secrets=secrets))
        who = ("sign", "--username", "sensors", "--client-id", DEVICE)
        said = exhook(*who)
        assert (said.code, said.out, said.err) == (
            2,
            "",
            (
                "cannot say: the secrets '2026-08' and '2027-01' of 'sensors' last equally long; "
                "name the one to sign by: --secret-id ID\n"
            ),
        )
        for name in ("2027-01", "2026-08"):
            assert exhook(*who, "--secret-id", name).out == f"{signed(name.encode())}\n"

    @pytest.mark.parametrize("named", ["canary", "gone", ""])
    def test_a_secret_that_does_not_live_is_not_signed_by(self, exhook: Exhook, store: Store, named: str) -> None:
        secrets = (secret("gone", b"x", expires_at=now_ms() - 1), secret("new", b"y"))
        store.put(identity("sensors", mode=SignMode.SIGNED, secrets=secrets))
        said = exhook("sign", "--username", "sensors", "--client-id", DEVICE, "--secret-id", named)
        assert (said.code, said.out, said.err) == (
            2,
            "",
            "cannot say: no live secret of 'sensors' has the id that --secret-id names; those that live are 'new'\n",
        )

    def test_names_that_are_not_ascii(self, exhook: Exhook, store: Store) -> None:
        store.put(identity("wärme", b"k", mode=SignMode.SIGNED))
        said = exhook("sign", "--username", "wärme", "--client-id", "日本")
        assert said.out == f"{signed(b'k', '日本')}\n"


class TestStores:
    def test_sealed_secrets_need_their_key(self, exhook: Exhook, tmp_path: Path) -> None:
        key = new_key()
        sealed = Store(tmp_path / "sealed.db", SealKeys.from_text(key, "test"))
        sealed.put(instance(), identity("sensors", b"XXXXX", mode=SignMode.SIGNED))
        who = ("sign", "--username", "sensors", "--client-id", DEVICE, "--db", "sealed.db")
        said = exhook(*who)
        assert (said.code, said.out) == (8, "")
        assert "give the file that holds it by --seal-key-file" in said.err
        assert exhook(*who, EXHOOK_SEAL_KEY=key).out == f"{KNOWN_ANSWER}\n"
        (tmp_path / "key").write_text(f"# a comment\n{key}\n")
        assert exhook(*who, "--seal-key-file", "key").out == f"{KNOWN_ANSWER}\n"
        assert exhook(*who, EXHOOK_SEAL_KEY_FILE="key").out == f"{KNOWN_ANSWER}\n"
        (tmp_path / "key").write_text(new_key())
        assert exhook(*who, "--seal-key-file", "key").code == 8

    def test_no_store(self, exhook: Exhook, tmp_path: Path) -> None:
        said = exhook("sign", "--username", "sensors", "--client-id", DEVICE, "--db", "absent.db")
        assert (said.code, said.out) == (8, "")
        assert said.err.startswith("absent.db: there is no store; ")
        assert not (tmp_path / "absent.db").exists()

    def test_of_several_instances_one_must_be_named(self, exhook: Exhook, store: Store) -> None:
        other = replace(identity("sensors", b"other", mode=SignMode.SIGNED), instance="mqtt-other")
        store.put(
            Instance(name="mqtt-other", source="policy"), other, identity("sensors", b"XXXXX", mode=SignMode.SIGNED)
        )
        who = ("sign", "--username", "sensors", "--client-id", DEVICE)
        said = exhook(*who)
        assert (said.code, said.out) == (2, "")
        assert said.err == "cannot say: the store has 2 instances; name one by --instance\n"
        assert exhook(*who, "--instance", INSTANCE).out == f"{KNOWN_ANSWER}\n"
        assert exhook(*who, EXHOOK_INSTANCE="mqtt-other").out == f"{signed(b'other')}\n"
        assert exhook(*who, "--instance", "mqtt-absent").code == 2


class TestRefusals:
    @pytest.mark.parametrize(
        ("username", "device", "says"),
        [
            ("nobody", DEVICE, f"no identity of 'nobody' is in instance {INSTANCE}; `exhook-sync export` lists them"),
            ("plain", DEVICE, "the identity of 'plain' is ORIGIN; only SIGNED ones have signed passwords"),
            ("cert", DEVICE, "the identity of 'cert' is EXTERNAL; only SIGNED ones have signed passwords"),
            ("bounded", DEVICE, f"the identity of 'bounded' does not admit '{DEVICE}'; its client_ids say whom"),
            ("late", DEVICE, "no secret of 'late' is live any more; give it a new one"),
        ],
    )
    def test_who_has_no_signed_password(
        self, exhook: Exhook, store: Store, username: str, device: str, says: str
    ) -> None:
        store.put(
            identity("plain", b"canary"),
            identity("cert", mode=SignMode.EXTERNAL),
            identity("bounded", b"canary", mode=SignMode.SIGNED, client_ids_prefix="meter-"),
            identity("late", mode=SignMode.SIGNED, secrets=(secret("old", b"canary", expires_at=now_ms() - 1),)),
        )
        said = exhook("sign", "--username", username, "--client-id", device)
        assert (said.code, said.out, said.err) == (2, "", f"cannot say: {says}\n")

    def test_usage(self, exhook: Exhook) -> None:
        for arguments in ((), ("--username", "x"), ("--client-id", "x"), ("--username", "x", "--client-id", "c", "y")):
            said = exhook("sign", *arguments)
            assert (said.code, said.out) == (64, "")
            assert said.err.startswith("exhook sign: ")
            assert said.err.endswith("; see exhook sign --help\n")
