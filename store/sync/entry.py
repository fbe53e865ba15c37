"""What the mappings of a policy file have in common, as pydantic models."""

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from store.sync.scalars import (
    ClientId,
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
    Topics,
    Variable,
    Word,
)

SignModeWord = Literal["origin", "signed", "signed-sha256", "hashed", "external"]


class Entry(BaseModel):
    """What every mapping of a policy file has in common: no key but those it names."""

    # Each is built when it is first needed: a small policy needs few of them.
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, defer_build=True)

    example: ClassVar[str]
    """How one is written; shown where something else stands."""
    examples: ClassVar[dict[str, str]] = {}
    """How the values of some keys are written that are no entries."""


class Remarks(Entry):
    """What may be said of every record."""

    instance: InstanceId = Field(default="", description="Instance of the entry; that of `defaults` if left out.")
    note: Note = Field(default="", description="A remark for people.")
    protect: Flag = Field(default=False, description="A plan that would remove the entry is refused.")
    expires: Expiry = Field(
        default=None, description="When it ceases to hold: a date (00:00 UTC), or date, time and zone."
    )


class Common(Remarks):
    id: EntryId = Field(default="", description="Name of the entry in plans, decisions and logs; unique in the policy.")
    override: Flag = Field(default=False, description="Replaces the entry of this id in an earlier file.")


class Actions(Entry):
    example = '{subscribe: ["plant/secret/#"]}'

    publish: Topics = Field(default_factory=list, description="Filters of the topics to publish to.")
    subscribe: Topics = Field(default_factory=list, description="Filters to subscribe to.")
    both: Topics = Field(default_factory=list, description="Filters to publish and to subscribe to.")


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


class Secrets(Entry):
    """What proves."""

    secret: SecretEntry | None = Field(default=None, description="The one secret.")
    secrets: Annotated[list[SecretEntry], Field(min_length=1)] | None = Field(
        default=None, description="One secret, or two while they rotate."
    )


class Proof(Secrets):
    """How an identity is proven."""

    sign_mode: SignModeWord | None = Field(
        default=None, description="How the password is proven; `hashed` if left out and all secrets are hashes."
    )
    client_ids: ClientIds | None = Field(default=None, description="The clients that may use the user name.")


class Grants(Actions):
    """What a permission block says, whomever it says it of."""

    deny: Actions | None = Field(default=None, description="What is refused whatever else grants it.")
    roles: Annotated[list[Name], Field(min_length=1)] = Field(
        default_factory=list, description="Roles whose topics count as if they stood here."
    )
