"""What a change changes, field by field, in words. Fingerprints only where they are asked for, secrets never."""

from collections.abc import Iterator
from typing import Any

from store.sync.change import Change
from store.sync.phrases import moment


def differences(change: Change, *, fingerprints: bool = False) -> Iterator[str]:
    """One line for each field that changes, and for each secret."""
    before, after = change.before or {}, change.after or {}
    for field in sorted((before.keys() | after.keys()) - {"secrets"}):
        if before.get(field) != after.get(field):
            was, will = (_value(field, getattr(record, field)) for record in (change.old, change.new))
            yield f"{'owner' if field == 'source' else field}: {was} → {will}"
    for name, what in secret_changes(before, after, fingerprints=fingerprints).items():
        yield f"secret {name}: {what}"


def secret_changes(before: dict[str, Any], after: dict[str, Any], *, fingerprints: bool = False) -> dict[str, str]:
    """What becomes of each secret that does not stay as it is, by its id."""
    old = {secret["id"]: secret for secret in before.get("secrets", ())}
    new = {secret["id"]: secret for secret in after.get("secrets", ())}
    found = {}
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            found[name] = "added"
        elif name not in new:
            found[name] = "removed"
        elif old[name]["fingerprint"] != new[name]["fingerprint"]:
            found[name] = "another value"
        elif old[name] != new[name]:
            was, will = (_value("expires_at", one[name].get("expires_at")) for one in (old, new))
            found[name] = f"expires {was} → {will}"
            continue
        else:
            continue
        if fingerprints:
            printed = [one[name]["fingerprint"] for one in (old, new) if name in one and one[name]["fingerprint"]]
            found[name] += f" ({' → '.join(printed)})" if printed else ""
    return found


def _value(field: str, value: Any) -> str:
    if field == "expires_at":
        return "never" if value is None else moment(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return "none" if value is None or value == "" else str(value)
