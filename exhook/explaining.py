"""Why a request is decided as it is: the same core, asked by a person."""

import json
from dataclasses import dataclass, field, replace

from exhook.listeners import Listeners
from store.account_names import AccountName, Mode, account_of
from store.bindings import Bindings
from store.credentials import verify
from store.decision import Challenge, Decision, Reason, authorize, conclude, instance_of, refused, select
from store.reader import Reader
from store.records import Action
from store.runtime import Runtime, path_beside
from store.sync.decided import Request, as_data, grounds, named, result
from store.token_mode import Binding, bound, read_offer
from store.view import Client, View


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a client would ask."""

    client_id: str
    username: str
    action: Action | None
    """PUB or SUB; None asks for the CONNECT."""
    topic: str = ""
    password: bytes | None = field(default=None, repr=False)
    address: str = ""
    cn: str = ""
    listener: str
    instance: str = ""
    at_ms: int
    emqx: bool = True
    """Whether the listener's broker reads ``$queue/F`` and ``$delayed/N/T`` as EMQX does."""

    @property
    def request(self) -> Request:
        return Request(client_id=self.client_id, action=self.action, topic=self.topic, emqx=self.emqx)


class CannotSay(Exception):
    """The answer hangs on something that was not given; the message says on what."""


def answer(reader: Reader, listeners: Listeners, question: Question) -> Decision:
    """The decision that a server on this store would make.

    Raises:
        CannotSay: the password decides and was not given, or there is no such listener.
    """
    listener = listeners.named(question.listener, question.instance or reader.only_instance())
    if listener is None:
        raise CannotSay(f"no listener is named {question.listener!r}; the settings file names them in [[listeners]]")
    client = Client.from_wire(
        question.username.encode(errors="surrogateescape"),
        question.client_id.encode(errors="surrogateescape"),
        listener,
        cn=question.cn.encode(errors="surrogateescape"),
        address=question.address,
    )
    if client is None:
        return refused(Reason.INVALID_INPUT, reader.revision)
    account = account_of(client.username)
    if account is not None and account.mode is Mode.TOKEN:
        client, view = _with_tokens(reader, client, account, question)
    else:
        view = reader.view(instance_of(client), client)
    if question.action is not None:
        return authorize(view, client, question.action, question.topic, question.at_ms)
    found = select(view, client, question.password, question.at_ms)
    if isinstance(found, Decision):
        return found
    if question.password is None:
        return _without_password(found)
    return conclude(found, verify(found.mode, found.secrets, found.client_id, question.password))


def _with_tokens(reader: Reader, client: Client, account: AccountName, question: Question) -> tuple[Client, View]:
    """A client in Token mode: with the tokens of the password that is given, else with those that are bound to it."""
    offer = read_offer(question.password or b"") or {}
    tokens = bound(offer, reader.token_keys(offer.values()))
    if question.action is None:
        return client, reader.view(instance_of(client), client, [token.token_id for token in tokens])
    if question.password is not None:
        binding = Binding(account.instance, account.key_id, tokens, client.address, client.port) if tokens else None
    else:
        binding = _bound_to(reader, client)
    if binding is not None:
        client = replace(client, address=binding.address, port=binding.port)
    return client, reader.view(instance_of(client), client, binding=binding)


def _bound_to(reader: Reader, client: Client) -> Binding | None:
    """What a server on this store bound to the client, whatever connection it came by."""
    if not path_beside(reader.path).exists():
        return None
    with Runtime.open(reader.path) as runtime:
        return Bindings(runtime).find(client.listener.name, client.client_id)


def _without_password(challenge: Challenge) -> Decision:
    if challenge.verdict is not Reason.ALLOWED:
        return conclude(challenge, None)
    raise CannotSay(
        f"the password decides: {named(challenge.identity)} is asked for it ({challenge.mode}); "
        "give it with --password-stdin"
    )


def as_json(decision: Decision, question: Question) -> str:
    """The decision for scripts."""
    return json.dumps(as_data(decision, question.request), ensure_ascii=False)


def as_text(decision: Decision, question: Question) -> str:
    """The decision for people."""
    head = f"{result(decision)}: {decision.reason.value} (revision {decision.revision})"
    return "\n".join([head, *(f"  {line}" for line in grounds(decision, question.request))])
