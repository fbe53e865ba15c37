"""Packed parts: what comes out is what went in, field by field."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_under_test import INSTANCE, NOW, allow, blocked, client, credential, group, instance, secret, user
from small_stores import identities, permissions

from store.grants import GrantIndex
from store.packing import MOST, packed, unpacked
from store.parts import NOTHING, Part
from store.records import Grantee, IdentityType, Record, SignMode
from store.tables import Subject

OF_U = Subject(INSTANCE, "USER", "u")
OF_C = Subject(INSTANCE, "CLIENT", "c")

clerical = st.fixed_dictionaries(
    {
        "source": st.sampled_from(["api", "plant"]),
        "id": st.sampled_from(["", "one"]),
        "origin": st.sampled_from(["", "a.yaml:3@f00"]),
        "note": st.text(max_size=3),
        "protect": st.booleans(),
        "expires_at": st.sampled_from([None, NOW]),
        "created_at": st.sampled_from([0, NOW]),
        "updated_at": st.sampled_from([0, NOW]),
        "revision": st.sampled_from([0, 7, 2**40]),
    }
)


def again(part: Part, subject: Subject) -> Part:
    data = packed(part, subject)
    assert data is not None
    return unpacked(data, subject)


@given(
    found=st.lists(st.tuples(st.one_of(identities(), permissions()), clerical), min_size=1, max_size=MOST),
    subject=st.sampled_from([OF_U, OF_C]),
)
def test_records_come_out_as_they_went_in(found: list[tuple[Record, dict[str, object]]], subject: Subject) -> None:
    """Of whichever subject they are: what it does not say is in the bytes."""
    records = [replace(record, **more) for record, more in found]  # type: ignore[arg-type] # fields of every record
    part = Part(
        identities=tuple(one for one in records if one.kind == "identity"),  # type: ignore[misc] # by their kind
        grants=GrantIndex([one for one in records if one.kind == "permission"]),  # type: ignore[misc] # the same
    )
    out = again(part, subject)
    assert (out.identities, out.grants.permissions) == (part.identities, part.grants.permissions)
    for one, other in zip(out.identities, part.identities, strict=True):
        assert (type(one.identity_type), type(one.protect)) == (IdentityType, bool)
        assert [secret.value for secret in one.secrets] == [secret.value for secret in other.secrets]


def test_all_kinds_at_once() -> None:
    part = Part(
        identities=(
            client("u", "c", sign_mode=SignMode.EXTERNAL),
            client("v", "c", secret("one"), secret("$argon2id$x", id="2")),
        ),
        blacklist=(blocked("c", reason="lost"), blocked("c", source="plant")),
        grants=GrantIndex([allow("a/${clientid}", to=(Grantee.CLIENT, "c"))]),
        device=credential("c"),
    )
    out = again(part, OF_C)
    assert (out.identities, out.blacklist, out.device) == (part.identities, part.blacklist, part.device)
    assert out.grants.permissions == part.grants.permissions
    assert again(Part(blacklist=(blocked(username="u"),)), OF_U).blacklist == (blocked(username="u"),)


def test_a_secret_is_not_spelt_by_repr() -> None:
    part = again(Part(identities=(user("u", "canary"),)), OF_U)
    assert "canary" not in repr(part)


@pytest.mark.parametrize(
    ("part", "subject"),
    [
        (NOTHING, OF_U),
        (Part(instance=instance()), Subject(INSTANCE, "INSTANCE", "")),
        (Part(group=group("GID_Abc")), Subject(INSTANCE, "GROUP", "GID_Abc")),
        (Part(grants=GrantIndex([allow("a")])), Subject(INSTANCE, "ALL", "")),
        (Part(grants=GrantIndex([allow(f"{number}") for number in range(MOST + 1)])), OF_U),
    ],
    ids=["nothing", "instance", "group", "everyone", "many"],
)
def test_what_is_not_packed(part: Part, subject: Subject) -> None:
    assert packed(part, subject) is None
