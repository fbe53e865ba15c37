"""The secrets of the identities that a policy asks for, told apart from the stored ones by fingerprint alone.

Nothing is hashed, verified or unsealed, so that an unchanged secret never shows as a change.
"""

from collections.abc import Sequence
from dataclasses import replace

from store.database import Database
from store.records import Secret, SecretForm, SignMode
from store.sync.policy import Spec
from store.sync.references import SecretReference, SecretSources, UnresolvedSecret
from store.sync.stand_ins import Compared
from store.sync.wording import describe


class UnresolvedSecrets(Exception):
    """Secrets that cannot be had; `errors` holds one sentence each, with its place and never a secret."""

    def __init__(self, errors: tuple[str, ...]) -> None:
        super().__init__("\n".join(errors))
        self.errors = errors


class WantedSecrets:
    """Finds the secrets of one identity after the other; `errors` collects what could not be had."""

    compared = Compared.VALUE

    def __init__(self, database: Database, sources: SecretSources) -> None:
        self._database = database
        self._sources = sources
        self.errors: list[str] = []

    def secrets(self, spec: Spec, stored: Sequence[Secret]) -> tuple[Secret, ...] | None:
        """Its secrets, the stored ones where they are the same; None where some cannot be had.

        A password that is new stands among them as PLAIN, still to be hashed.
        """
        known = {secret.id: secret for secret in stored}
        secrets = []
        for reference in spec.secrets:
            try:
                secrets.append(self._secret(spec, reference, known.get(reference.id)))
            except UnresolvedSecret as error:
                self.errors.append(str(error))
        return tuple(secrets) if len(secrets) == len(spec.secrets) else None

    def _secret(self, spec: Spec, reference: SecretReference, stored: Secret | None) -> Secret:
        if reference.kind == "stored":
            return replace(_stored(spec, reference, stored), expires_at=reference.expires_at)
        value, form = self._sources.resolve(reference, spec.sign_mode)
        fingerprint = self._database.fingerprint(form, value)
        if stored is not None and stored.fingerprint == fingerprint:
            same_time = stored.expires_at == reference.expires_at
            return stored if same_time else replace(stored, expires_at=reference.expires_at)
        return Secret(id=reference.id, value=value, form=form, fingerprint=fingerprint, expires_at=reference.expires_at)


def _stored(spec: Spec, reference: SecretReference, stored: Secret | None) -> Secret:
    """The secret that the store has already."""
    if stored is None:
        raise UnresolvedSecret(
            f"{reference.origin}: the store has no secret {reference.id!r} of {describe(spec)}; "
            "say where it is to be found: env, file or hash"
        )
    if (stored.form is SecretForm.HASH) is not (spec.sign_mode is SignMode.HASHED):
        held = "a hash" if stored.form is SecretForm.HASH else "a key"
        raise UnresolvedSecret(
            f"{reference.origin}: the stored secret {reference.id!r} of {describe(spec)} is {held}, "
            f"which does not go with sign_mode {spec.sign_mode.lower()}; give the secret itself by env or file"
        )
    return stored
