"""How EMQX decides by `acl.conf`, written down from its source (emqx_authz_rule.erl, emqx_topic.erl), not from ours."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Asker:
    username: str
    client_id: str


@dataclass(frozen=True)
class Topic:
    text: str
    eq: bool = False

    def __str__(self) -> str:
        return f'{{eq, "{self.text}"}}' if self.eq else f'"{self.text}"'


@dataclass(frozen=True)
class Rule:
    permission: str
    who: str
    """``all``, ``user NAME``, ``client NAME``, ``both USER CLIENT``, ``either USER CLIENT``, ``re ^NAME``."""
    action: str
    topics: tuple[Topic, ...]

    def __str__(self) -> str:
        topics = ", ".join(map(str, self.topics))
        return f"{{{self.permission}, {self._who()}, {self.action}, [{topics}]}}."

    def _who(self) -> str:
        kind, *names = self.who.split(" ")
        match kind:
            case "user":
                return f'{{username, "{names[0]}"}}'
            case "client":
                return f'{{clientid, "{names[0]}"}}'
            case "both":
                return f'{{\'and\', [{{user, "{names[0]}"}}, {{client, "{names[1]}"}}]}}'
            case "either":
                return f'{{\'or\', [{{user, "{names[0]}"}}, {{client, "{names[1]}"}}]}}'
            case "re":
                return f'{{username, {{re, "{names[0]}"}}}}'
        return "all"

    def concerns(self, asker: Asker) -> bool:
        kind, *names = self.who.split(" ")
        match kind:
            case "user":
                return asker.username == names[0]
            case "client":
                return asker.client_id == names[0]
            case "both":
                return (asker.username, asker.client_id) == (names[0], names[1])
            case "either":
                return asker.username == names[0] or asker.client_id == names[1]
            case "re":
                return asker.username.startswith(names[0].removeprefix("^"))
        return True


def allows(rules: Sequence[Rule], asker: Asker, action: str, asked: str) -> bool:
    """The first rule that matches decides; `authorization.no_match = deny`."""
    for rule in rules:
        if rule.action in (action, "all") and rule.concerns(asker):
            words = asked.split("/")
            if any(_matches(topic, asker, words) for topic in rule.topics):
                return rule.permission == "allow"
    return False


def _matches(topic: Topic, asker: Asker, words: list[str]) -> bool:
    if topic.eq:
        return topic.text.split("/") == words
    text = topic.text.replace("${username}", asker.username).replace("${clientid}", asker.client_id)
    return match(words, text.split("/"))


def match(name: Sequence[str], filter_: Sequence[str]) -> bool:
    """`emqx_topic:match/2` on words, which knows no rule about `$`."""
    if list(filter_) == ["#"]:
        return True
    if not name or not filter_:
        return not name and not filter_
    return filter_[0] in (name[0], "+") and match(name[1:], filter_[1:])
