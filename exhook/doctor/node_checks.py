"""What one node of an EMQX cluster is configured with, against what must hold."""

from collections.abc import Iterator

from exhook.doctor import emqx_rules as rules
from exhook.doctor.configured import Configured, NodeListener
from exhook.doctor.emqx_rules import Seen
from exhook.doctor.finding import Grade
from exhook.renewing import TOPIC
from store.decision import UPLOAD_TOPIC


def node_checks(
    node: Configured, port: int, external_ports: frozenset[int], meant: Grade, *, tokens: bool = False
) -> Iterator[Seen]:
    """What is seen; other authenticators are of the grade `meant`. With `tokens`, clients have some to renew."""
    if node.authenticators is not None:
        yield from rules.authentication(node.authenticators, {}, meant)
    if node.sources is not None:
        yield from rules.authorization(node.sources, node.settings)
    if node.servers is not None:
        yield from rules.server_entry(rules.entry_of(node.servers, port), port)
    for listener in node.listeners:
        if listener.port in external_ports:
            yield from _external(listener, node)
        else:
            yield from _asked(listener, node, meant)
    if tokens:
        yield from _renewal(node, external_ports)
    if node.subscribed:
        said = f"every client is subscribed, without being asked about, to: {', '.join(node.subscribed)}"
        yield Seen("auto_subscribe", Grade.ADVICE, said, "auto_subscribe.topics = []")


def _renewal(node: Configured, external_ports: frozenset[int]) -> Iterator[Seen]:
    """Where clients have tokens, the message by which they renew them must reach ExHook."""
    if node.renamed is None:
        return
    if (UPLOAD_TOPIC, TOPIC) not in node.renamed:
        said = f"no rewrite rule brings {UPLOAD_TOPIC} to ExHook: tokens are renewed by reconnecting alone"
        mend = f'rewrite = [{{action = publish, source_topic = "{UPLOAD_TOPIC}", dest_topic = "{TOPIC}", '
        yield Seen("renewal", Grade.ADVICE, said, mend + r're = "^\\$SYS/uploadToken$"}]')
        return
    mounted = [one.id for one in node.listeners if one.mountpoint and one.port not in external_ports]
    if mounted:
        said = f"behind the mountpoint of {', '.join(mounted)} tokens are renewed by reconnecting alone"
        yield Seen("renewal", Grade.ADVICE, said, "let clients that renew tokens in by a listener without a mountpoint")


def _external(listener: NodeListener, node: Configured) -> Iterator[Seen]:
    """Where EMQX proves who a client is, it must: without password and certificate, a user name is a claim."""
    if listener.asks:
        return
    place = f"listeners.{listener.id.replace(':', '.')}"
    if not listener.demands_certificate:
        yield Seen(
            "external listener",
            Grade.WRONG,
            f"{listener.id} lets in whoever claims a user name: it asks for neither password nor certificate",
            f"{place}.ssl_options {{verify = verify_peer, fail_if_no_peer_cert = true}}",
        )
    elif node.username_from == "disabled":
        yield Seen(
            "external listener",
            Grade.WRONG,
            f"{listener.id} demands a certificate, but the user name is the client's own choice",
            "mqtt.peer_cert_as_username = cn",
        )


def _asked(listener: NodeListener, node: Configured, meant: Grade) -> Iterator[Seen]:
    place = f"listeners.{listener.id.replace(':', '.')}"
    if listener.own_authenticators:
        said = f"{listener.id} has authenticators of its own, which decide instead of the floor"
        yield Seen("listener", meant, said, f"{place}.authentication = []")
    if node.username_from != "disabled" and listener.demands_certificate:
        yield Seen(
            "listener",
            Grade.ADVICE,
            f"{listener.id} takes user names from certificates, and yet asks for a password",
            f"declare port {listener.port} external in [[listeners]], and say {place}.enable_authn = false",
        )
