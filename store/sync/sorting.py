"""The keys of a laid out policy file, put in their order; names that people chose stay as they stand."""

from collections.abc import Iterator
from typing import Any, Final, get_args, get_origin

from store.sync.entry import Entry
from store.sync.key_order import ordered
from store.sync.layout import Node
from store.sync.schema import PolicyFile

_ENDS_OF_KEYS: Final = "\"'"


def put_in_order(node: Node, kind: Any = PolicyFile) -> None:
    """Sort the keys of all mappings that are entries. `kind` is the type of the field that holds the node."""
    if node.children is None:
        return
    if not node.mapping:
        for child in node.children:
            put_in_order(child.value, _argument(kind, list))
        return
    named = [(child.key.raw.strip(_ENDS_OF_KEYS) if child.key else "", child) for child in node.children]
    model = _model(kind, [key for key, _ in named])
    for key, child in named:
        inner = model.model_fields[key].annotation if model and key in model.model_fields else None
        put_in_order(child.value, inner or _argument(kind, dict))
    if model is not None:
        ranks = {key: rank for rank, key in enumerate(ordered((key for key, _ in named), file=model is PolicyFile))}
        node.children = [child for key, child in sorted(named, key=lambda one: ranks[one[0]])]


def _model(kind: Any, keys: list[str]) -> type[Entry] | None:
    """The entry that the keys are of: of several, the one that knows most of them."""
    models = [one for one in _choices(kind) if isinstance(one, type) and issubclass(one, Entry)]
    return max(models, key=lambda one: sum(key in one.model_fields for key in keys), default=None)


def _argument(kind: Any, holder: type) -> Any:
    """What a list holds, or a mapping of names."""
    return next((get_args(one)[-1] for one in _choices(kind) if get_origin(one) is holder), None)


def _choices(kind: Any) -> Iterator[Any]:
    """The types that a field may have."""
    if kind is None or isinstance(kind, type) or get_origin(kind) in (list, dict):
        yield kind
    else:
        for one in get_args(kind):
            yield from _choices(one)
