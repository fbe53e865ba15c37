"""The order in which the keys of a policy file are written, told of, and completed."""

from collections.abc import Iterable
from typing import Final

_FILE: Final = (
    "format source defaults sync vars instances groups include identities roles permissions blacklist access_keys "
    "device_credentials fixtures tests lint"
)
_ENTRY: Final = (
    "name id client username client_id group access_key everyone identities permissions blacklist columns delimiter "
    "separator defaults sign_mode client_ids client_ids_prefix client_ids_group prefix device_access_key_id secret "
    "secrets secret_id env file hash literal stored secret_expires off record as at clients topic filter topics rule "
    "requests allowed matrix can cannot token actions resources active instances connect all_topics calls "
    "reveal_secrets roles publish subscribe both deny deny_publish deny_subscribe deny_both cn address external "
    "reason record_quota client_id_rule pin_client_ids no_match parent_topics environment prune limits removals "
    "clients_losing_access adopt instance note protect expires override"
)
_FILE_RANKS: Final = {key: rank for rank, key in enumerate(_FILE.split())}
_ENTRY_RANKS: Final = {key: rank for rank, key in enumerate(_ENTRY.split())}


def ordered(keys: Iterable[str], *, file: bool = False) -> list[str]:
    """The keys in their order; those without one last, as they stand."""
    ranks = _FILE_RANKS if file else _ENTRY_RANKS
    return sorted(keys, key=lambda key: ranks.get(key, len(ranks)))
