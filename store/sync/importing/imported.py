"""What was read of another system, before it is written as a policy."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from store.hashes import InvalidHash, check_hash
from store.names import InvalidRecord
from store.records import Grantee, Identity, IdentityType, Permission, Secret, SecretForm, SignMode
from store.sync.importing.first_match import Grants
from store.sync.importing.leftovers import Leftovers
from store.sync.importing.original import Spot
from store.sync.importing.rules import Rule
from store.sync.schema import DEFAULT_INSTANCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedIdentity:
    """Who may connect, and the hash that proves it, which never shows in `repr`."""

    username: str
    client_id: str = ""
    hash: str = field(repr=False)
    note: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Who may not connect."""

    username: str
    reason: str


@dataclass(slots=True)
class Imported:
    """Entries of a policy, and what could not become one."""

    leftovers: Leftovers = field(default_factory=Leftovers)
    identities: list[ImportedIdentity] = field(default_factory=list)
    allows: list[Rule] = field(default_factory=list)
    denies: list[Rule] = field(default_factory=list)
    blacklist: list[Blocked] = field(default_factory=list)
    comments: dict[tuple[Grantee, str], str] = field(default_factory=dict)
    """A remark on the permissions of a grantee."""

    def add_identity(self, identity: ImportedIdentity, at: Spot, instead: str) -> bool:
        """Whether it can be an identity here; told where it cannot, with what to do `instead`."""
        try:
            check_hash(identity.hash)
            _record(identity)
        except (InvalidHash, InvalidRecord) as wrong:
            self.leftovers.left_out(at, _user(identity.username), str(wrong), instead)
            return False
        self.identities.append(identity)
        return True

    def add_grants(self, grants: Grants) -> None:
        """The rules that can be permissions here; whom no permission can name is told."""
        self.allows += self._sayable(grants.allows)
        self.denies += self._sayable(grants.denies)

    def _sayable(self, rules: Iterable[Rule]) -> Iterable[Rule]:
        for rule in rules:
            try:
                Permission(
                    instance=DEFAULT_INSTANCE,
                    identity_type=rule.grantee,
                    identity=rule.name,
                    topic=rule.topic,
                    action=rule.action,
                    effect=rule.effect,
                )
            except InvalidRecord as wrong:
                self.leftovers.left_out(rule.at, rule.said, str(wrong))
            else:
                yield rule


def _user(username: str) -> str:
    return f"user {username!r}"


def _record(identity: ImportedIdentity) -> Identity:
    """The record that will be made of it, tried with its own rules."""
    return Identity(
        instance=DEFAULT_INSTANCE,
        identity_type=IdentityType.CLIENT if identity.client_id else IdentityType.USER,
        username=identity.username,
        client_id=identity.client_id,
        sign_mode=SignMode.HASHED,
        secrets=(Secret(id="default", value=b"-", form=SecretForm.HASH, fingerprint=""),),
    )
