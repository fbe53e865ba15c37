"""Policy tests as they stand in files, as pydantic models: fixtures, cases, matrices."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, create_model

from store.account_records import MAX_RESOURCES
from store.sync.entry import Entry
from store.sync.scalars import (
    ClientId,
    EntryId,
    Expiry,
    Flag,
    InstanceId,
    KeyId,
    Name,
    Note,
    Topics,
    UserName,
    Word,
    unwanted,
)
from store.sync.source import Text

ReasonWord = Literal[
    "invalid_input",
    "blacklisted",
    "invalid_client_id",
    "client_id_owned",
    "unknown_identity",
    "expired",
    "external_only",
    "wrong_instance",
    "key_inactive",
    "key_may_not_connect",
    "no_binding",
    "invalid_topic",
    "private_topic",
    "unknown_parent_topic",
    "denied",
    "no_match",
    "unsafe_placeholder",
    "token_scope",
    "key_scope",
]
"""The reasons that files alone can bring about; the password, the load and the store are none of a test's business."""

_A_TOPIC: Final = '{filter: "plant/+/up", rule: dashboard-read}'
_RULE: Final = "Id of the entry that must have decided; its name where it has no id."
_REASON: Final = "The reason that the refusal must have."


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_topic(value: Any) -> Any:
    return {"topic": value} if isinstance(value, str) else value


def _as_client(value: Any) -> Any:
    return {"client": value} if isinstance(value, str) else value


def _as_connect(value: Any) -> Any:
    if isinstance(value, Text) and value.plain and value == "true":
        return {}
    if isinstance(value, dict):
        return value
    raise unwanted("true is wanted", "what must not happen stands under `cannot`")


class TokenEntry(Entry):
    example = '{actions: R, resources: ["plant/+/alarm"]}'

    actions: Literal["R", "W", "RW"] = Field(description="R subscribes, W publishes, RW does both.")
    resources: Annotated[list[Word], Field(min_length=1, max_length=MAX_RESOURCES)] = Field(
        description="The filters that it is for."
    )


class ClientEntry(Entry):
    example = "{username: dashboard, client_id: dash-01}"

    username: UserName = Field(default="", description="Its MQTT user name; a client may have none.")
    access_key: KeyId = Field(default="", description="The access key that it connects by (Signature mode).")
    token: TokenEntry | None = Field(default=None, description="What its access key issued to it (Token mode).")
    device_access_key_id: KeyId = Field(
        default="", description="The device key that it connects by (DeviceCredential mode)."
    )
    client_id: ClientId = Field(description="Its client id.")
    instance: InstanceId = Field(
        default="", description="Its listener's instance; the only one of the policy, or that of `defaults`."
    )
    cn: Word = Field(default="", description="Common name of its certificate.")
    address: Word = Field(default="", description="Where it connects from.")
    external: Flag = Field(default=False, description="It comes in where the broker itself proves who it is.")


class AskingEntry(ClientEntry):
    """A client, or the name of one."""

    client: Name = Field(default="", description="A client of `fixtures`.")
    client_id: ClientId = Field(default="", description="Its client id.")


class Fixtures(Entry):
    example = "{clients: {dash: {username: dashboard, client_id: dash-01}}}"

    clients: dict[Name, ClientEntry] = Field(default_factory=dict, description="Clients that tests name in `as`.")
    topics: dict[Name, Topics] = Field(
        default_factory=dict, description="Topics and filters that tests name as `{topics: NAME}`."
    )


class AskedTopic(Entry):
    example = '"plant/line1/up", {topics: NAME}'

    topic: Word = Field(default="", description="The topic; the filter, where it is subscribed to.")
    filter: Word = Field(default="", description="The same: a filter that is subscribed to.")
    topics: Name = Field(default="", description="Topics of `fixtures`, each for itself.")


class GrantedTopic(AskedTopic):
    example = _A_TOPIC

    rule: EntryId = Field(default="", description=_RULE)


class RefusedTopic(GrantedTopic):
    example = _A_TOPIC

    reason: ReasonWord | None = Field(default=None, description=_REASON)


class Granted(Entry):
    example = "{rule: dashboard}"

    rule: EntryId = Field(default="", description=_RULE)


class Refused(Granted):
    example = "{reason: blacklisted}"

    reason: ReasonWord | None = Field(default=None, description=_REASON)


RequestTopics = Annotated[
    list[Annotated[AskedTopic, BeforeValidator(_as_topic, Word | AskedTopic)]], Field(min_length=1)
]
CanTopics = Annotated[
    list[Annotated[GrantedTopic, BeforeValidator(_as_topic, Word | GrantedTopic)]], Field(min_length=1)
]
CannotTopics = Annotated[
    list[Annotated[RefusedTopic, BeforeValidator(_as_topic, Word | RefusedTopic)]], Field(min_length=1)
]


class Can(Entry):
    example = '{connect: true, subscribe: ["plant/line1/#"]}'

    connect: Annotated[Granted, BeforeValidator(_as_connect, Literal[True] | Granted)] | None = Field(
        default=None, description="It gets in, if its password is right."
    )
    publish: CanTopics | None = Field(default=None, description="Topics that it may publish to.")
    subscribe: CanTopics | None = Field(default=None, description="Filters that it may subscribe to.")
    both: CanTopics | None = Field(default=None, description="Topics for both.")


class Cannot(Entry):
    example = '{publish: ["plant/line1/up"]}'

    connect: Annotated[Refused, BeforeValidator(_as_connect, Literal[True] | Refused)] | None = Field(
        default=None, description="It does not get in, whatever its password."
    )
    publish: CannotTopics | None = Field(default=None, description="Topics that it must not publish to.")
    subscribe: CannotTopics | None = Field(default=None, description="Filters that it must not subscribe to.")
    both: CannotTopics | None = Field(default=None, description="Topics for neither.")


class RequestEntry(Entry):
    example = '{publish: ["plant/line1/set"]}'

    publish: RequestTopics | None = Field(default=None, description="Topics to publish to.")
    subscribe: RequestTopics | None = Field(default=None, description="Filters to subscribe to.")
    both: RequestTopics | None = Field(default=None, description="Topics for both.")


class Matrix(Entry):
    example = "{requests: {read: {subscribe: [a]}}, allowed: {dash: [read]}}"

    requests: dict[Name, RequestEntry] = Field(description="Its columns: what each client asks for.")
    allowed: dict[Name, list[Name]] = Field(
        description="Its rows: by client of `fixtures`, the requests that it is granted; all others must be refused."
    )


class _Case(Entry):
    example = "{name: the dashboard reads, as: dash, can: {subscribe: [a]}, cannot: {publish: [a]}}"

    name: Note = Field(description="What the test is about; unique in the policy.")
    at: Expiry = Field(
        default=None, description="When it is asked: a date (00:00 UTC), or date, time and zone; now if left out."
    )
    can: Can | None = Field(default=None, description="What must be granted.")
    cannot: Cannot | None = Field(default=None, description="What must be refused.")
    matrix: Matrix | None = Field(default=None, description="A table of clients and requests, instead of the others.")


_Asking = Annotated[AskingEntry, BeforeValidator(_as_client, Name | AskingEntry)]
_Askers = Annotated[
    list[_Asking], BeforeValidator(_listed, Name | AskingEntry | list[Name | AskingEntry]), Field(min_length=1)
]

# `as` is no name that a class body could hold.
CaseEntry = create_model(
    "CaseEntry",
    __base__=_Case,
    **{"as": (_Askers | None, Field(default=None, description="Who asks: a client, the name of one, or several."))},  # type: ignore[call-overload] # keys that are no literals
)
