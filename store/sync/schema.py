"""The policy file as pydantic models: which keys there are, and what each takes.

The models validate located values (`store.sync.source`); what concerns several fields, or several entries, is
checked where records are made of them. A JSON Schema for editors can be derived from `PolicyFile`.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.sync.scalars import (
    ClientId,
    Count,
    EntryId,
    Expiry,
    FileName,
    Flag,
    GroupId,
    Hash,
    InstanceId,
    Kept,
    Name,
    Note,
    Removals,
    SourceName,
    Topics,
    UserName,
    Variable,
    Word,
)

DEFAULT_SOURCE: Final = "policy"
DEFAULT_INSTANCE: Final = "mqtt-default"


class Entry(BaseModel):
    """What every mapping of a policy file has in common: no key but those it names."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    example: ClassVar[str]
    """How one is written; shown where something else stands."""
    unsupported: ClassVar[dict[str, str]] = {}
    """Keys of the format that this version does not read, and what to do instead."""


class Common(Entry):
    id: EntryId = Field(default="", description="Name of the entry in plans, decisions and logs; unique in the policy.")
    instance: InstanceId = Field(default="", description="Instance of the entry; that of `defaults` if left out.")
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the entry is refused.")
    expires: Expiry = Field(
        default=None, description="When it ceases to hold: a date (00:00 UTC), or date, time and zone."
    )


class Defaults(Entry):
    example = "{instance: mqtt-prod}"

    instance: InstanceId = Field(default=DEFAULT_INSTANCE, description="Instance of the entries that name none.")


class Limits(Entry):
    example = "{removals: 30%}"

    removals: Removals | None = Field(default=None, description="Records that an apply may remove: a share or a count.")
    clients_losing_access: Count | None = Field(default=None, description="Clients that may lose access by an apply.")


class Sync(Entry):
    example = "{environment: prod, prune: true}"

    environment: Name | None = Field(default=None, description="Label that the store must carry.")
    prune: Flag = Field(default=False, description="Remove what this source owns and no longer names.")
    limits: Limits = Field(default=Limits(), description="What an apply may remove without being asked.")
    adopt: list[Name] = Field(default_factory=list, description="Sources whose identities may be taken over.")


class InstanceEntry(Entry):
    example = "{record_quota: 100000}"

    record_quota: Count | None = Field(
        default=None, description="Identities, permissions and blacklist entries at most."
    )
    client_id_rule: Literal["any", "group"] = Field(
        default="any", description="`group`: client ids are GROUP@@@DEVICE."
    )
    pin_client_ids: Flag = Field(default=True, description="A client id with an identity of its own is its alone.")
    no_match: Literal["deny", "pass"] = Field(default="deny", description="Answer where no rule matches.")
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the instance is refused.")


class GroupEntry(Entry):
    example = "{id: GID_Sensors, instance: mqtt-prod}"

    id: GroupId = Field(description="The group id: client ids begin with it, then `@@@`.")
    instance: InstanceId = Field(default="", description="Instance of the group; that of `defaults` if left out.")
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the group is refused.")
    expires: Expiry = Field(
        default=None, description="When it ceases to hold: a date (00:00 UTC), or date, time and zone."
    )


class SecretEntry(Entry):
    example = "{env: EXHOOK_SECRET_NAME}"

    id: EntryId = Field(default="", description="Name of the secret in logs; `default` if left out.")
    env: Variable | None = Field(
        default=None,
        repr=False,
        description="Variable that holds the secret; EXHOOK_SECRET_… unless that rule is lifted.",
    )
    file: FileName | None = Field(
        default=None, repr=False, description="File that holds the secret, relative to the secrets folder."
    )
    hash: Hash | None = Field(
        default=None, repr=False, description="Hash of the password that describes itself: $argon2id$…, $2b$…, $7$…"
    )
    literal: Word | None = Field(default=None, repr=False, description="The secret itself; for tests alone.")
    stored: Kept | None = Field(default=None, description="`true`: the one that the store has under this id stays.")
    expires: Expiry = Field(
        default=None, description="When it ceases to hold: a date (00:00 UTC), or date, time and zone."
    )


class ClientIds(Entry):
    example = "{group: GID_Sensors} or {prefix: meter-}"

    prefix: ClientId | None = Field(default=None, description="Client ids that begin so.")
    group: GroupId | None = Field(default=None, description="Client ids of this group.")


class IdentityEntry(Common):
    example = "{username: dashboard, secret: {env: EXHOOK_SECRET_NAME}, sign_mode: origin}"

    username: UserName = Field(description="The MQTT user name.")
    client_id: ClientId = Field(default="", description="The one client of the identity; all clients if left out.")
    sign_mode: Literal["origin", "signed", "signed-sha256", "hashed", "external"] | None = Field(
        default=None, description="How the password is proven; `hashed` if left out and all secrets are hashes."
    )
    client_ids: ClientIds | None = Field(default=None, description="The clients that may use the user name.")
    secret: SecretEntry | None = Field(default=None, description="The one secret.")
    secrets: Annotated[list[SecretEntry], Field(min_length=1)] | None = Field(
        default=None, description="One secret, or two while they rotate."
    )


class Actions(Entry):
    example = '{subscribe: ["plant/secret/#"]}'

    publish: Topics = Field(default_factory=list, description="Filters of the topics to publish to.")
    subscribe: Topics = Field(default_factory=list, description="Filters to subscribe to.")
    both: Topics = Field(default_factory=list, description="Filters to publish and to subscribe to.")


class PermissionBlock(Common, Actions):
    example = '{username: sensors, publish: ["plant/${clientid}/up"]}'
    unsupported: ClassVar[dict[str, str]] = {"roles": "write the topics of the role into the block"}

    username: UserName = Field(default="", description="Granted to all clients of this user name.")
    client_id: ClientId = Field(default="", description="Granted to the client of this id.")
    group: GroupId = Field(default="", description="Granted to the clients of this group.")
    access_key: UserName = Field(default="", description="Granted to the clients of this access key.")
    everyone: Flag = Field(default=False, description="Granted to every authenticated client of the instance.")
    deny: Actions | None = Field(default=None, description="What is refused whatever else grants it.")


class BlacklistEntry(Common):
    example = "{client_id: GID_Sensors@@@0007, reason: reported stolen}"

    client_id: ClientId = Field(default="", description="The client that may not connect.")
    username: UserName = Field(default="", description="The user name that nobody may connect with.")
    reason: Note = Field(default="", description="Why; for people.")


class PolicyFile(Entry):
    """A policy file."""

    example = "format: exhook/v1"
    unsupported: ClassVar[dict[str, str]] = {
        "include": "write the entries into the file, or name the other files on the command line",
        "vars": "write the values out",
        "roles": "write the topics into the permission blocks",
        "tests": "leave them out",
        "access_keys": "leave them out",
        "device_credentials": "leave them out",
    }

    format: Literal["exhook/v1"] = Field(description="The format of the file.")
    source: SourceName = Field(default=DEFAULT_SOURCE, description="Owner of the records that the policy makes.")
    defaults: Defaults = Field(default=Defaults(), description="What entries take that do not say.")
    sync: Sync = Field(default=Sync(), description="How the policy may change the store.")
    instances: dict[InstanceId, InstanceEntry] = Field(default_factory=dict, description="Settings of instances.")
    groups: list[GroupId | GroupEntry] = Field(default_factory=list, description="Registered group ids.")
    identities: list[IdentityEntry] = Field(default_factory=list, description="Who may connect.")
    permissions: list[PermissionBlock] = Field(default_factory=list, description="Who may publish and subscribe.")
    blacklist: list[BlacklistEntry] = Field(default_factory=list, description="Who may not connect in any mode.")
