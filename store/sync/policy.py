"""A policy as it is once all its files are read: records, and identities whose secrets are still references."""

from dataclasses import dataclass

from store.records import (
    BlacklistEntry,
    Group,
    Identity,
    IdentityType,
    Instance,
    Permission,
    Secret,
    SignMode,
)
from store.sync.findings import PolicyWarning
from store.sync.references import SecretReference


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncRules:
    """How the policy may change the store."""

    environment: str = ""
    """The label that the store must carry; empty for any."""
    prune: bool = False
    removals_percent: int | None = None
    removals: int | None = None
    clients_losing_access: int | None = None
    adopt: tuple[str, ...] = ()
    """Sources whose identities the policy may take over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySpec:
    """An `Identity` whose secrets are still references; the fields mean what they mean there."""

    instance: str
    identity_type: IdentityType
    username: str
    client_id: str
    sign_mode: SignMode
    client_ids_prefix: str
    client_ids_group: str
    source: str
    id: str
    origin: str
    note: str
    protect: bool
    expires_at: int | None
    secrets: tuple[SecretReference, ...]

    @property
    def key(self) -> tuple[str, ...]:
        """The same as that of the `Identity`."""
        return (self.instance, self.identity_type, self.username, self.client_id)

    def identity(self, secrets: tuple[Secret, ...]) -> Identity:
        """The record.

        Raises:
            InvalidRecord: as `Identity`.
        """
        return Identity(
            instance=self.instance,
            identity_type=self.identity_type,
            username=self.username,
            client_id=self.client_id,
            sign_mode=self.sign_mode,
            secrets=secrets,
            client_ids_prefix=self.client_ids_prefix,
            client_ids_group=self.client_ids_group,
            source=self.source,
            id=self.id,
            origin=self.origin,
            note=self.note,
            protect=self.protect,
            expires_at=self.expires_at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The desired state that one source asks for."""

    source: str
    sync: SyncRules
    default_instance: str
    instances: tuple[Instance, ...]
    """The declared ones, and one with default settings for each name that is used and not declared."""
    implicit_instances: frozenset[str]
    """The names of the latter."""
    groups: tuple[Group, ...]
    identities: tuple[IdentitySpec, ...]
    permissions: tuple[Permission, ...]
    """One for each grantee, topic and effect."""
    blacklist: tuple[BlacklistEntry, ...]
    warnings: tuple[PolicyWarning, ...]

    @property
    def empty(self) -> bool:
        """Whether it lets nobody in and shuts nobody out."""
        return not (self.identities or self.permissions or self.blacklist)
