"""Identities without their secrets, for plans that are made where no secret is at hand."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Protocol

from store.records import Record, Secret, SecretForm, SignMode
from store.seal import fingerprint
from store.sync.policy import Spec
from store.sync.recorded import NO_VALUE
from store.sync.references import SecretReference


class Compared(StrEnum):
    """By what a plan tells a secret from another."""

    VALUE = "value"
    """By fingerprint, as an apply does."""
    NAME = "name"
    """By id and expiry alone: another value does not show."""
    REFERENCE = "reference"
    """By what the files say of it: variable, file or hash."""

    @property
    def remark(self) -> str:
        """What a plan says of it; nothing where it is as in an apply."""
        return {
            Compared.VALUE: "",
            Compared.NAME: "secrets were not compared, but for their ids and expiry; a checksum to apply by needs them",
            Compared.REFERENCE: "secrets were compared by where the files say they are found, not by value",
        }[self]


class IdentitySecrets(Protocol):
    """Finds the secrets of one identity after the other; `errors` collects what could not be had."""

    compared: Compared
    errors: list[str]

    def secrets(self, spec: Spec, stored: Sequence[Secret]) -> tuple[Secret, ...] | None:
        """Its secrets, the stored ones where they are the same; None where some cannot be had."""


class ByName:
    """Secrets that are compared by id and expiry alone; none is resolved."""

    compared = Compared.NAME

    def __init__(self) -> None:
        self.errors: list[str] = []

    def secrets(self, spec: Spec, stored: Sequence[Secret]) -> tuple[Secret, ...]:
        """Its secrets; one that is stored under the same id counts as the same one."""
        known = {secret.id: secret for secret in stored}
        return tuple(
            replace(known[one.id], expires_at=one.expires_at) if one.id in known else stand_in(spec, one)
            for one in spec.secrets
        )


class ByReference:
    """Secrets that are compared by what the files say of them; none is resolved."""

    compared = Compared.REFERENCE

    def __init__(self) -> None:
        self.errors: list[str] = []
        # The key is forgotten with the plan, so that no fingerprint of a literal secret outlives it.
        self._key = secrets.token_bytes(32)

    def secrets(self, spec: Spec, stored: Sequence[Secret] = ()) -> tuple[Secret, ...]:
        """Its secrets; `stored` tells nothing that is needed."""
        del stored
        return tuple(stand_in(spec, one, fingerprint(self._key, one.kind, one.value.encode())) for one in spec.secrets)


def unprovable(spec: Spec, reference: SecretReference) -> Secret:
    """A secret that no password proves, for decisions in which the secret itself is not at hand."""
    hashed = spec.sign_mode is SignMode.HASHED
    salt, digest = (base64.b64encode(secrets.token_bytes(size)) for size in (12, 64))
    return Secret(
        id=reference.id,
        value=b"$6$" + salt + b"$" + digest if hashed else secrets.token_bytes(32),
        form=SecretForm.HASH if hashed else SecretForm.KEY,
        fingerprint="",
        expires_at=reference.expires_at,
    )


def without_secrets(spec: Spec) -> Record:
    """The record with secrets that no password proves."""
    return spec.record(tuple(unprovable(spec, one) for one in spec.secrets))


def stand_in(spec: Spec, reference: SecretReference, printed: str = "") -> Secret:
    """A secret that is known by what is written of it."""
    return Secret(
        id=reference.id,
        value=NO_VALUE,
        form=SecretForm.HASH if spec.sign_mode is SignMode.HASHED else SecretForm.KEY,
        fingerprint=printed,
        expires_at=reference.expires_at,
    )
