"""Entries of a policy file as records: the checks that concern several fields of one entry.

Permission blocks are read by `store.sync.blocks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from store.names import InvalidRecord
from store.records import BlacklistEntry, ClientIdRule, Group, IdentityType, Instance, NoMatch, Secret, SignMode
from store.sync import schema
from store.sync.findings import Findings
from store.sync.lint_off import ENV_RULE
from store.sync.placed import Placed
from store.sync.policy import IdentitySpec
from store.sync.references import DEFAULT_SECRET, ENV_PREFIX, Kind, SecretReference
from store.sync.roles import Roles
from store.sync.source import Items, Located, Mapping, Text, Value

T = TypeVar("T")

SIGN_MODES: Final = {
    "origin": SignMode.ORIGIN,
    "signed": SignMode.SIGNED,
    "signed-sha256": SignMode.SIGNED_SHA256,
    "hashed": SignMode.HASHED,
    "external": SignMode.EXTERNAL,
}
_UNPROVEN: Final = "no secret; write `secret: {env: EXHOOK_SECRET_NAME}`, or `sign_mode: external`"
_NAMES: Final = ("id", "client_id", "username")
"""What names an entry to people, the best first."""
_KINDS: Final[tuple[Kind, ...]] = ("env", "file", "hash", "literal", "stored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What the entries of one file take from around them."""

    file: str
    commit: str
    source: str
    instance: str
    """Instance of the entries that name none."""
    findings: Findings
    roles: Roles
    rows: bool = False
    """Whether it is a file of rows, one entry a line."""

    def error(self, at: Located, message: str) -> None:
        self.findings.error(self.file, at, message)

    def warn(self, at: Located, message: str, *, rule: str, record: str = "") -> None:
        self.findings.warn(self.file, at, message, rule=rule, record=record)

    def place(self, item: T, at: Located) -> Placed[T]:
        return Placed(item, self.file, at)

    def origin(self, at: Located) -> str:
        """``FILE:LINE``, and ``@COMMIT`` where one is known."""
        return f"{self.file}:{at.line}@{self.commit}" if self.commit else f"{self.file}:{at.line}"

    def spot(self, at: Located) -> str:
        """``FILE:LINE:COLUMN``; of a row, which is one line, ``FILE:LINE``."""
        return f"{self.file}:{at.line}" if self.rows else f"{self.file}:{at.line}:{at.column}"

    def common(self, entry: schema.Remarks, at: Located) -> dict[str, Any]:
        """The fields that every record takes from its entry."""
        return {
            "instance": entry.instance or self.instance,
            "source": self.source,
            "id": entry.id if isinstance(entry, schema.Common) else "",
            "origin": self.origin(at),
            "note": entry.note,
            "protect": entry.protect,
            "expires_at": entry.expires,
        }


def read_instance(name: str, entry: schema.InstanceEntry, at: Located, scope: Scope) -> Instance:
    return Instance(
        name=name,
        record_quota=entry.record_quota,
        client_id_rule=ClientIdRule(entry.client_id_rule),
        pin_client_ids=entry.pin_client_ids,
        no_match=NoMatch(entry.no_match),
        parent_topics=tuple(entry.parent_topics or ()),
        source=scope.source,
        origin=scope.origin(at),
        note=entry.note,
        protect=entry.protect,
    )


def read_group(entry: schema.GroupEntry, at: Located, scope: Scope) -> Group:
    return Group(name=entry.id, **scope.common(entry, at))


def read_blacklist_entry(entry: schema.BlacklistEntry, value: Mapping, scope: Scope) -> Placed[BlacklistEntry] | None:
    try:
        record = BlacklistEntry(
            client_id=entry.client_id, username=entry.username, reason=entry.reason, **scope.common(entry, value)
        )
    except InvalidRecord as wrong:
        scope.error(value, f"{wrong}; write {entry.example}")
        return None
    return scope.place(record, value)


def read_identity(entry: schema.IdentityEntry, value: Mapping, scope: Scope) -> Placed[IdentitySpec] | None:
    mode = _sign_mode(entry, value, scope)
    references = read_references(entry, mode, value, scope)
    bound = entry.client_ids or schema.ClientIds()
    if entry.client_ids and bool(bound.prefix) == bool(bound.group):
        scope.error(value["client_ids"], f"client_ids takes a prefix or a group; write {bound.example}")
        return None
    if mode is None or references is None:
        return None
    spec = IdentitySpec(
        identity_type=IdentityType.CLIENT if entry.client_id else IdentityType.USER,
        username=entry.username,
        client_id=entry.client_id,
        sign_mode=mode,
        client_ids_prefix=bound.prefix or "",
        client_ids_group=bound.group or "",
        secrets=references,
        **scope.common(entry, value),
    )
    try:
        # The record's own rules, tried with stand-ins for the secrets.
        spec.identity(tuple(Secret(id=one.id, value=b"-", fingerprint="") for one in references))
    except InvalidRecord as wrong:
        scope.error(field_at(value, wrong.field), str(wrong))
        return None
    return scope.place(spec, value)


def _sign_mode(entry: schema.IdentityEntry, value: Mapping, scope: Scope) -> SignMode | None:
    if entry.sign_mode:
        return SIGN_MODES[entry.sign_mode]
    secrets = _entries(entry)
    if secrets and all(secret.hash for secret in secrets):
        return SignMode.HASHED
    if secrets:
        scope.error(
            value,
            "`sign_mode` is missing; write origin (the password is the secret), signed (it is an HMAC of the "
            "client id) or hashed (the secret is stored as a hash)",
        )
    return None


def _entries(entry: schema.Secrets) -> list[schema.SecretEntry]:
    return ([entry.secret] if entry.secret else []) + (entry.secrets or [])


def read_references(
    entry: schema.Secrets, mode: SignMode | None, value: Mapping, scope: Scope, unproven: str = _UNPROVEN
) -> tuple[SecretReference, ...] | None:
    """The secrets of an entry; None where they are wrong."""
    if entry.secret and entry.secrets:
        scope.error(value.key_at("secrets"), "both `secret` and `secrets`; put all of them under `secrets`")
        return None
    found = _entries(entry)
    if mode is SignMode.EXTERNAL:
        if found:
            scope.error(field_at(value, "secrets"), "an external identity has no secret; leave it out")
        return None if found else ()
    if not found:
        scope.error(value, unproven)
        return None
    written = field_at(value, "secrets")
    values = list(written) if isinstance(written, Items) else [written]
    references = [
        _reference(secret, mode, at, scope) for secret, at in zip(found, values, strict=True) if isinstance(at, Mapping)
    ]
    _warn_of_secrets(entry, values, scope)
    good = [reference for reference in references if reference is not None]
    ids = [reference.id for reference in good]
    if len(ids) != len(set(ids)):
        scope.error(written, "two secrets with the same id, or without one; give each its own `id`")
        return None
    return tuple(good) if len(good) == len(found) else None


def _reference(
    secret: schema.SecretEntry, mode: SignMode | None, value: Mapping, scope: Scope
) -> SecretReference | None:
    given = [kind for kind in _KINDS if getattr(secret, kind) is not None]
    if len(given) != 1:
        scope.error(value, f"a secret is one of {', '.join(_KINDS)}; write {secret.example}")
        return None
    kind = given[0]
    if kind == "hash" and mode not in (SignMode.HASHED, None):
        scope.error(
            value.key_at("hash"), "a hash goes with `sign_mode: hashed` alone; give the secret itself by env or file"
        )
        return None
    return SecretReference(
        id=secret.id or DEFAULT_SECRET,
        kind=kind,
        value="" if kind == "stored" else getattr(secret, kind),
        expires_at=secret.expires,
        origin=scope.spot(value),
    )


def _warn_of_secrets(entry: schema.Secrets, values: Sequence[Value], scope: Scope) -> None:
    """Warn of secrets that whoever reads the file has, and of variables that an apply refuses unless it is told."""
    message = "a secret written into the policy; whoever reads the file has it, use env or file"
    refused = f"a variable that may not be read without --allow-env; name it {ENV_PREFIX}…"
    record = next((name for field in _NAMES if (name := getattr(entry, field, ""))), "")
    for value in values:
        if isinstance(value, Mapping) and "literal" in value:
            scope.warn(value.key_at("literal"), message, rule="literal-secret", record=record)
        # Rows take the short way past here, but for the odd one.
        env = value.get("env") if isinstance(value, Mapping) and not scope.rows else None
        if isinstance(env, Text) and not env.startswith(ENV_PREFIX):
            scope.warn(env, refused, rule=ENV_RULE, record=record)


def field_at(value: Mapping, field: str) -> Value:
    """The value of a record's field, or the whole entry where it has none."""
    if field == "secrets":
        return value.get("secrets") or value.get("secret") or value
    return value.get(field) or value
