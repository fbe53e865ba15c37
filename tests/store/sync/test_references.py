import os
from pathlib import Path

import pytest

from store.records import SecretForm, SignMode
from store.sync.references import MAX_BYTES, Kind, SecretReference, SecretSources, UnresolvedSecret

CANARY = "CANARY"
HASH = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"


def reference(kind: Kind, value: str) -> SecretReference:
    return SecretReference(id="default", kind=kind, value=value, origin="policy.yaml:7")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    return secrets


def sources(folder: Path | None = None, *, allow_env: bool = False, **environ: str) -> SecretSources:
    return SecretSources(environ, folder, allow_env=allow_env)


def refusal(sources: SecretSources, wanted: SecretReference, mode: SignMode = SignMode.ORIGIN) -> str:
    with pytest.raises(UnresolvedSecret) as caught:
        sources.resolve(wanted, mode)
    message = str(caught.value)
    assert message.startswith("policy.yaml:7: ")
    assert CANARY not in message
    return message


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        (SignMode.ORIGIN, SecretForm.KEY),
        (SignMode.SIGNED, SecretForm.KEY),
        (SignMode.SIGNED_SHA256, SecretForm.KEY),
        (SignMode.HASHED, SecretForm.PLAIN),
    ],
)
def test_the_sign_mode_says_what_a_secret_is(folder: Path, mode: SignMode, form: SecretForm) -> None:
    (folder / "one.txt").write_bytes(b"from file")
    here = sources(folder, EXHOOK_SECRET_ONE="from environment")
    assert here.resolve(reference("env", "EXHOOK_SECRET_ONE"), mode) == (b"from environment", form)
    assert here.resolve(reference("file", "one.txt"), mode) == (b"from file", form)
    assert here.resolve(reference("literal", "literal é"), mode) == ("literal é".encode(), form)


def test_a_hash_is_a_hash() -> None:
    assert sources().resolve(reference("hash", HASH), SignMode.HASHED) == (HASH.encode(), SecretForm.HASH)


def test_a_stored_secret_is_not_resolved_here() -> None:
    assert "in the store alone" in refusal(sources(), reference("stored", CANARY))


def test_variables_without_the_prefix_are_the_runners_own() -> None:
    wanted = reference("env", "AWS_SECRET_ACCESS_KEY")
    message = refusal(sources(AWS_SECRET_ACCESS_KEY=CANARY), wanted)
    assert "AWS_SECRET_ACCESS_KEY may not be read" in message
    assert "--allow-env" in message
    allowed = sources(allow_env=True, AWS_SECRET_ACCESS_KEY="key")
    assert allowed.resolve(wanted, SignMode.SIGNED) == (b"key", SecretForm.KEY)


def test_an_unset_or_empty_variable_is_named() -> None:
    assert "EXHOOK_SECRET_ONE is not set" in refusal(sources(), reference("env", "EXHOOK_SECRET_ONE"))
    here = sources(EXHOOK_SECRET_ONE="")
    assert "EXHOOK_SECRET_ONE is empty" in refusal(here, reference("env", "EXHOOK_SECRET_ONE"))


def test_a_variable_may_hold_any_bytes() -> None:
    here = sources(EXHOOK_SECRET_ONE=b"\xff\xfe".decode(errors="surrogateescape"))
    assert here.resolve(reference("env", "EXHOOK_SECRET_ONE"), SignMode.SIGNED)[0] == b"\xff\xfe"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\n\n", b"secret\n"),
        (b"secret \n", b"secret "),
        (b"\xff\x00\n", b"\xff\x00"),
        (b"secret\r", b"secret\r"),
    ],
)
def test_one_newline_at_the_end_of_a_file_is_none_of_the_secret(folder: Path, written: bytes, read: bytes) -> None:
    (folder / "one").write_bytes(written)
    assert sources(folder).resolve(reference("file", "one"), SignMode.ORIGIN)[0] == read


@pytest.mark.parametrize("written", [b"", b"\n", b"\r\n"])
def test_an_empty_file_proves_nothing(folder: Path, written: bytes) -> None:
    (folder / "one").write_bytes(written)
    assert "the file 'one' is empty" in refusal(sources(folder), reference("file", "one"))


def test_a_secret_is_no_longer_than_a_password(folder: Path) -> None:
    (folder / "fits").write_bytes(b"x" * MAX_BYTES + b"\r\n")
    (folder / "long").write_bytes(CANARY.encode() * MAX_BYTES)
    assert len(sources(folder).resolve(reference("file", "fits"), SignMode.ORIGIN)[0]) == MAX_BYTES
    assert "longer than 65535 bytes" in refusal(sources(folder), reference("file", "long"))
    here = sources(EXHOOK_SECRET_LONG=CANARY * MAX_BYTES)
    assert "longer than 65535 bytes" in refusal(here, reference("env", "EXHOOK_SECRET_LONG"))


def test_without_a_folder_no_file_is_read(folder: Path) -> None:
    (folder / "one").write_text(CANARY)
    assert "pass `--secrets-dir DIR`" in refusal(sources(), reference("file", "one"))


def test_files_outside_the_folder_are_not_read(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.write_text(CANARY)
    (folder / "link").symlink_to(outside)
    (folder / "up").symlink_to(folder.parent)
    (folder / "one").write_text(CANARY)
    (folder.parent / "secrets-too").mkdir()
    (folder.parent / "secrets-too" / "one").write_text(CANARY)
    for name in ("../outside", "link", "up/outside", "a/../../outside", "../secrets-too/one", str(outside)):
        assert "not below the secrets folder" in refusal(sources(folder), reference("file", name)), name
    assert "not below the secrets folder" in refusal(sources(folder), reference("file", str(folder / "one")))


def test_links_within_the_folder_are_followed(folder: Path) -> None:
    """So are mounted secrets laid out."""
    (folder / "..data").mkdir()
    (folder / "..data" / "one").write_text("secret\n")
    (folder / "one").symlink_to("..data/one")
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert sources(link).resolve(reference("file", "one"), SignMode.ORIGIN)[0] == b"secret"


def test_what_is_no_readable_file_is_named(folder: Path) -> None:
    (folder / "folder").mkdir()
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    for name in ("absent", "folder", "pipe", "absent/one"):
        assert f"there is no file {name!r}" in refusal(sources(folder), reference("file", name))
    assert "'loop'" in refusal(sources(folder), reference("file", "loop"))
    name = "x" * 300
    assert name in refusal(sources(folder), reference("file", name))
    assert "no file" in refusal(sources(folder / "absent"), reference("file", "one"))


def test_a_failure_to_read_says_why(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "one").write_text(CANARY)

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Root reads whatever it likes, so that permissions cannot be taken away for real.
    monkeypatch.setattr(Path, "open", denied)
    assert "cannot be read (Permission denied)" in refusal(sources(folder), reference("file", "one"))


def test_no_repr_shows_a_secret() -> None:
    shown = (
        repr(sources(EXHOOK_SECRET_ONE=CANARY)) + repr(reference("literal", CANARY)) + repr(reference("hash", CANARY))
    )
    assert CANARY not in shown


@pytest.mark.parametrize("way", ["itself", "link", "hard link", "within"])
def test_keys_of_the_systems_own_are_no_secrets_of_a_policy(folder: Path, way: str) -> None:
    """All credentials of a service or a container lie in one folder: whoever writes the policy must not use them."""
    (folder / "deep").mkdir()
    key = folder / ("deep/seal.key" if way == "within" else "seal.key")
    key.write_text(CANARY)
    name = {"itself": "seal.key", "within": "deep/seal.key"}.get(way, "other")
    if way == "link":
        (folder / name).symlink_to(key)
    elif way == "hard link":
        os.link(key, folder / name)
    (folder / "meters").write_text("s")
    here = SecretSources({}, folder, private=(folder / "absent", key))
    assert "is a key of exhook's own" in refusal(here, reference("file", name))
    assert here.resolve(reference("file", "meters"), SignMode.ORIGIN) == (b"s", SecretForm.KEY)
