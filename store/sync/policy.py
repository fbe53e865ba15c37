"""A policy as it is once all its files are read: records, and identities whose secrets are still references."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar, overload

from store.account_records import AccessKey, DeviceCredential
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
from store.sync.case import Case
from store.sync.findings import PolicyWarning
from store.sync.lint_off import Off
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

    def record(self, secrets: tuple[Secret, ...]) -> Identity:
        """As `identity`."""
        return self.identity(secrets)

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


@dataclass(frozen=True, slots=True)
class KeySpec:
    """An access key or a device credential whose secrets are still references."""

    asked: AccessKey | DeviceCredential
    """With stand-ins for its secrets."""
    secrets: tuple[SecretReference, ...]

    sign_mode: ClassVar = SignMode.SIGNED

    @property
    def key(self) -> tuple[str, ...]:
        return self.asked.key

    @property
    def source(self) -> str:
        return self.asked.source

    @property
    def id(self) -> str:
        return self.asked.id

    @property
    def origin(self) -> str:
        return self.asked.origin

    def record(self, secrets: tuple[Secret, ...]) -> AccessKey | DeviceCredential:
        return replace(self.asked, secrets=secrets)


Spec = IdentitySpec | KeySpec
"""What has secrets to be found."""

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class SizedIterable(Protocol[R_co]):
    """Records that can be counted and gone through, again and again."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[R_co]: ...


class Records(Sequence[R]):
    """Records of several files, those of included files made anew whenever they are asked for.

    Iterating is cheap in memory and takes some microseconds a record; an index counts from the start each time.
    """

    def __init__(self, parts: Sequence[Sequence[R] | SizedIterable[R]]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[R]:
        return chain.from_iterable(self._parts)

    @overload
    def __getitem__(self, index: int) -> R: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[R, ...]: ...
    def __getitem__(self, index: int | slice) -> R | tuple[R, ...]:
        if isinstance(index, slice):
            return tuple(self)[index]
        place = index + len(self) if index < 0 else index
        for record in islice(self, place, None) if place >= 0 else ():
            return record
        raise IndexError(f"{index} of {len(self)} records")

    def __reversed__(self) -> Iterator[R]:
        return reversed(tuple(self))

    def __repr__(self) -> str:
        return f"<{len(self)} records>"


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
    identities: Sequence[IdentitySpec]
    """A tuple, or `Records` where files are included; so are permissions and blacklist."""
    access_keys: tuple[KeySpec, ...]
    device_credentials: tuple[KeySpec, ...]
    permissions: Sequence[Permission]
    """One for each grantee, topic and effect."""
    blacklist: Sequence[BlacklistEntry]
    warnings: tuple[PolicyWarning, ...]
    files: tuple[Path, ...]
    """All files that it was read from, included ones too."""
    commit: str
    """The git commit that all of them are at; empty where it is not known, or one of them is not."""
    cases: tuple[Case, ...] = ()
    """The tests of its files."""
    off: tuple[Off, ...] = ()
    """The lint rules that its files turn off."""
    silencing: frozenset[Off] = frozenset()
    """Those of them that kept a warning from being told."""

    @property
    def empty(self) -> bool:
        """Whether it lets nobody in and shuts nobody out."""
        return not (
            self.identities or self.access_keys or self.device_credentials or self.permissions or self.blacklist
        )
