"""The policy file as pydantic models: which keys there are, and what each takes.

The models validate located values (`store.sync.source`); what concerns several fields, or several entries, is
checked where records are made of them. `store.sync.json_schema` derives a JSON Schema for editors from `PolicyFile`.
"""

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, WithJsonSchema

from store.sync.case_entry import CaseEntry, Fixtures
from store.sync.entry import Actions, ClientIds, Common, Entry, Grants, Proof, Remarks, SecretEntry, Secrets
from store.sync.include import IncludeBlacklist, IncludeIdentities, IncludePermissions
from store.sync.lint_off import RULES
from store.sync.scalars import (
    CallName,
    ClientId,
    Count,
    EntryId,
    Expiry,
    Flag,
    GroupId,
    InstanceId,
    KeyId,
    Name,
    Note,
    ParentTopic,
    Removals,
    SourceName,
    UserName,
    VarName,
    VarValue,
    Word,
)

__all__ = ["Actions", "ClientIds", "Common", "Entry", "Grants", "Proof", "Remarks", "SecretEntry", "Secrets"]

FORMAT: Final = "exhook/v1"
DEFAULT_SOURCE: Final = "policy"
DEFAULT_INSTANCE: Final = "mqtt-default"


class Defaults(Entry):
    example = "{instance: mqtt-prod}"

    instance: InstanceId = Field(default=DEFAULT_INSTANCE, description="Instance of the entries that name none.")
    override: Flag = Field(default=False, description="What is said here counts instead of what earlier files say.")


class Limits(Entry):
    example = "{removals: 30%}"

    removals: Removals | None = Field(default=None, description="Records that an apply may remove: a share or a count.")
    clients_losing_access: Count | None = Field(default=None, description="Clients that may lose access by an apply.")


class Sync(Entry):
    example = "{environment: prod, prune: true}"

    environment: Name | None = Field(default=None, description="Label that the store must carry.")
    prune: Flag = Field(default=False, description="Remove what this source owns and no longer names.")
    limits: Limits = Field(default_factory=Limits, description="What an apply may remove without being asked.")
    adopt: list[Name] = Field(default_factory=list, description="Sources whose identities may be taken over.")
    override: Flag = Field(default=False, description="What is said here counts instead of what earlier files say.")


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
    parent_topics: Annotated[list[ParentTopic], Field(min_length=1)] | None = Field(
        default=None, description="The first levels that topics may have; any if left out."
    )
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the instance is refused.")
    override: Flag = Field(default=False, description="Replaces the instance of this name in an earlier file.")


class GroupEntry(Remarks):
    example = "{id: GID_Sensors, instance: mqtt-prod}"

    id: GroupId = Field(description="The group id: client ids begin with it, then `@@@`.")
    override: Flag = Field(default=False, description="Replaces the group of this id in an earlier file.")


class IdentityEntry(Common, Proof):
    example = "{username: dashboard, secret: {env: EXHOOK_SECRET_NAME}, sign_mode: origin}"

    username: UserName = Field(description="The MQTT user name.")
    client_id: ClientId = Field(default="", description="The one client of the identity; all clients if left out.")


class AccessKeyEntry(Secrets):
    example = "{id: app-1, secret: {env: EXHOOK_SECRET_APP_1}, connect: true}"

    id: KeyId = Field(description="The access key id: what user names and API calls name it by.")
    instances: Annotated[list[InstanceId], Field(min_length=1)] | None = Field(
        default=None, description="Instances where it counts; that of `defaults` if left out."
    )
    active: Flag = Field(default=True, description="Whether it counts at all.")
    connect: Flag = Field(default=False, description="MQTT clients may connect by it (Signature mode).")
    calls: list[CallName] = Field(default_factory=list, description="API calls that it may sign.")
    all_topics: Flag = Field(default=False, description="It is allowed what is not denied, but for `$…` topics.")
    reveal_secrets: Flag = Field(default=False, description="The API shows secrets to it in the clear.")
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the key is refused.")
    expires: Expiry = Field(
        default=None, description="When it ceases to hold: a date (00:00 UTC), or date, time and zone."
    )
    override: Flag = Field(default=False, description="Replaces the access key of this id in an earlier file.")


class DeviceCredentialEntry(Common, Secrets):
    example = "{client_id: meter-1, device_access_key_id: DC.1, secret: {env: EXHOOK_SECRET_METER_1}}"

    client_id: ClientId = Field(description="The client id that it belongs to.")
    device_access_key_id: KeyId = Field(description="What user names name it by; one credential's alone.")


class PermissionBlock(Common, Grants):
    example = '{username: sensors, publish: ["plant/${clientid}/up"]}'

    username: UserName = Field(default="", description="Granted to all clients of this user name.")
    client_id: ClientId = Field(default="", description="Granted to the client of this id.")
    group: GroupId = Field(default="", description="Granted to the clients of this group.")
    access_key: UserName = Field(default="", description="Granted to the clients of this access key.")
    everyone: Flag = Field(default=False, description="Granted to every authenticated client of the instance.")


class BlacklistEntry(Common):
    example = "{client_id: GID_Sensors@@@0007, reason: reported stolen}"

    client_id: ClientId = Field(default="", description="The client that may not connect.")
    username: UserName = Field(default="", description="The user name that nobody may connect with.")
    reason: Note = Field(default="", description="Why; for people.")


class RoleEntry(Actions):
    example = '{subscribe: ["plant/line1/#"]}'

    deny: Actions | None = Field(default=None, description="What is refused whatever else grants it.")
    note: Note = Field(default="", description="A remark for people.")
    override: Flag = Field(default=False, description="Replaces the role of this name in an earlier file.")


class OffEntry(Entry):
    example = "{off: everything, record: operators, reason: operators see all lines}"

    off: Annotated[Word, WithJsonSchema({"enum": list(RULES)})] = Field(description="The lint rule.")
    record: EntryId = Field(
        default="", description="Id of the entry, its name where it has no id; the whole policy if left out."
    )
    reason: Note = Field(description="Why it is right here; for people.")


class Header(Entry):
    """What a policy file says beside its entries, which are validated one by one."""

    example = "format: exhook/v1"
    examples: ClassVar[dict[str, str]] = {"vars": "{root: plant-a}"}

    format: Literal["exhook/v1"] = Field(description="The format of the file.")
    source: SourceName = Field(default=DEFAULT_SOURCE, description="Owner of the records that the policy makes.")
    defaults: Defaults = Field(default_factory=Defaults, description="What entries take that do not say.")
    sync: Sync = Field(default_factory=Sync, description="How the policy may change the store.")
    vars: dict[VarName, VarValue] = Field(
        default_factory=dict, description="Texts that stand for `${var.NAME}`; a later file may give others."
    )


class PolicyFile(Header):
    """A policy file."""

    instances: dict[InstanceId, InstanceEntry] = Field(default_factory=dict, description="Settings of instances.")
    groups: list[GroupId | GroupEntry] = Field(default_factory=list, description="Registered group ids.")
    include: list[IncludeIdentities | IncludePermissions | IncludeBlacklist] = Field(
        default_factory=list, description="Files of rows, JSON lines or CSV: for many devices."
    )
    identities: list[IdentityEntry] = Field(default_factory=list, description="Who may connect.")
    access_keys: list[AccessKeyEntry] = Field(default_factory=list, description="Accounts of applications.")
    device_credentials: list[DeviceCredentialEntry] = Field(default_factory=list, description="Keys of single devices.")
    roles: dict[Name, RoleEntry] = Field(default_factory=dict, description="Topics under a name, for permissions.")
    permissions: list[PermissionBlock] = Field(default_factory=list, description="Who may publish and subscribe.")
    blacklist: list[BlacklistEntry] = Field(default_factory=list, description="Who may not connect in any mode.")
    fixtures: Fixtures = Field(default_factory=Fixtures, description="Clients and topics that tests name.")
    tests: list[CaseEntry] = Field(
        default_factory=list, description="What the policy must grant and refuse; `exhook-sync test` sees to it."
    )
    lint: list[OffEntry] = Field(default_factory=list, description="Lint rules that are turned off, with reasons.")
