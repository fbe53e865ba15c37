"""Sealing at rest: keys read strictly, values bound to their record, nothing of a key or secret in any sentence."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.seal import KEY_BYTES, PLAIN, SealError, SealKeys, fingerprint, key_id, missing_key, new_key

FIRST, SECOND = new_key(), new_key()
SECRET = b"\x00the secret\xff"
PLACE = '["mqtt-test", "USER", "u", "", "1"]'


def keys(*texts: str) -> SealKeys:
    return SealKeys.from_text("\n".join(texts), "keys")


def id_of(text: str) -> str:
    return key_id(base64.b64decode(text))


@given(st.binary(), st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_in_its_place_alone(value: bytes, place: str) -> None:
    sealing = keys(FIRST)
    sealed = sealing.seal(value, place)
    assert sealing.unseal(sealed, place) == value
    with pytest.raises(SealError, match="altered, or moved"):
        sealing.unseal(sealed, place + "x")


def test_sealing_hides_the_value_and_never_repeats() -> None:
    first, second = keys(FIRST).seal(SECRET, PLACE), keys(FIRST).seal(SECRET, PLACE)
    assert first != second
    assert b"secret" not in first


def test_without_a_key_values_stand_in_the_clear() -> None:
    none = SealKeys()
    assert none.primary == PLAIN
    assert none.ids == ()
    assert none.unseal(none.seal(SECRET, PLACE), PLACE) == SECRET
    # A key that comes later does not lock out what stood there before.
    assert keys(FIRST).unseal(none.seal(SECRET, PLACE), PLACE) == SECRET


@pytest.mark.parametrize("at", [5, 10, 17, -1])
def test_an_altered_value_does_not_open(at: int) -> None:
    sealed = bytearray(keys(FIRST).seal(SECRET, PLACE))
    sealed[at] ^= 1
    with pytest.raises(SealError, match="altered, or moved"):
        keys(FIRST).unseal(bytes(sealed), PLACE)


@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 16, 17, 18, 32, 33])
def test_a_cut_value_does_not_open(length: int) -> None:
    sealed = keys(FIRST).seal(SECRET, PLACE)
    with pytest.raises(SealError, match="altered, or moved"):
        keys(FIRST).unseal(sealed[:length], PLACE)


def test_a_value_of_an_unknown_form_does_not_open() -> None:
    with pytest.raises(SealError, match="altered, or moved"):
        keys(FIRST).unseal(b"\2" + keys(FIRST).seal(SECRET, PLACE)[1:], PLACE)


def test_the_first_key_seals_and_every_key_opens() -> None:
    old = keys(FIRST).seal(SECRET, PLACE)
    both = keys(SECOND, FIRST)
    assert both.primary == id_of(SECOND)
    assert both.ids == (id_of(SECOND), id_of(FIRST))
    assert both.unseal(old, PLACE) == SECRET
    new = both.seal(SECRET, PLACE)
    assert keys(SECOND).unseal(new, PLACE) == SECRET
    with pytest.raises(SealError) as missing:
        keys(FIRST).unseal(new, PLACE)
    assert str(missing.value) == missing_key(id_of(SECOND))
    assert "--seal-key-file" in str(missing.value)


def test_key_files_have_comments_and_blank_lines() -> None:
    text = f"# made in 2026\n\n  {FIRST}  \n# the old one\n{SECOND}\n"
    assert SealKeys.from_text(text, "keys").ids == (id_of(FIRST), id_of(SECOND))


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("secret-that-is-no-key", 2),
        (base64.b64encode(bytes(KEY_BYTES - 1)).decode(), 2),
        (base64.b64encode(bytes(KEY_BYTES + 1)).decode(), 2),
        (FIRST[:-1], 2),
        (FIRST + " " + SECOND, 2),
        ("\N{LATIN SMALL LETTER A WITH DIAERESIS}" * 44, 2),
    ],
    ids=["words", "too-short", "too-long", "cut-short", "two-on-a-line", "not-ascii"],
)
def test_a_line_that_is_no_key_is_named_by_number_and_never_shown(line: str, number: int) -> None:
    with pytest.raises(SealError) as refused:
        SealKeys.from_text(f"{FIRST}\n{line}\n", "/etc/keys")
    assert str(refused.value).startswith(f"/etc/keys:{number}: no seal key")
    assert line not in str(refused.value)


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n"])
def test_a_key_file_without_a_key_is_refused(text: str) -> None:
    with pytest.raises(SealError, match="keys: holds no seal key"):
        SealKeys.from_text(text, "keys")


def test_keys_come_from_the_option_then_the_named_file_then_the_environment(tmp_path: Path) -> None:
    option, named = tmp_path / "option", tmp_path / "named"
    option.write_text(FIRST)
    named.write_text(SECOND)
    third = new_key()
    environ = {"EXHOOK_SEAL_KEY_FILE": str(named), "EXHOOK_SEAL_KEY": third}
    assert SealKeys.from_environment(environ, option).primary == id_of(FIRST)
    assert SealKeys.from_environment(environ).primary == id_of(SECOND)
    assert SealKeys.from_environment({"EXHOOK_SEAL_KEY": third}).primary == id_of(third)
    assert SealKeys.from_environment({"EXHOOK_SEAL_KEY": "", "EXHOOK_SEAL_KEY_FILE": ""}).primary == PLAIN


def test_a_named_key_file_must_be_readable(tmp_path: Path) -> None:
    with pytest.raises(SealError, match=r"nowhere: cannot be read as a seal key file \(No such file"):
        SealKeys.from_environment({"EXHOOK_SEAL_KEY_FILE": str(tmp_path / "nowhere")})
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe" + FIRST.encode())
    with pytest.raises(SealError, match=r"binary: cannot be read as a seal key file \(not ASCII"):
        SealKeys.from_environment({}, binary)
    with pytest.raises(SealError, match="cannot be read as a seal key file"):
        SealKeys.from_environment({}, tmp_path)


def test_a_wrong_key_in_the_environment_is_not_shown() -> None:
    with pytest.raises(SealError) as refused:
        SealKeys.from_environment({"EXHOOK_SEAL_KEY": "hunter2hunter2"})
    assert str(refused.value).startswith("EXHOOK_SEAL_KEY:1: no seal key")
    assert "hunter2" not in str(refused.value)


def test_keys_never_show() -> None:
    shown = repr(keys(FIRST, SECOND))
    for text in (FIRST, SECOND):
        assert text not in shown
        assert repr(base64.b64decode(text)) not in shown
    assert id_of(FIRST) not in FIRST


def test_new_keys_differ_and_are_whole() -> None:
    assert new_key() != new_key()
    assert len(base64.b64decode(new_key(), validate=True)) == KEY_BYTES


@given(st.binary(min_size=1, max_size=8), st.sampled_from(["KEY", "HASH"]), st.binary(), st.binary())
def test_equal_secrets_show_as_equal_and_others_do_not(key: bytes, form: str, one: bytes, other: bytes) -> None:
    assert (fingerprint(key, form, one) == fingerprint(key, form, other)) == (one == other)
    assert len(fingerprint(key, form, one)) == 16


def test_fingerprints_depend_on_key_and_form() -> None:
    assert len({fingerprint(key, form, SECRET) for key in (b"a", b"b") for form in ("KEY", "HASH")}) == 4
