"""Made-up ids and secrets: all different, and each a word that a command line takes for a value."""

import re
from collections.abc import Callable

import pytest

from store.key_material import new_access_key_id, new_device_access_key_id, new_password, new_token_id


@pytest.mark.parametrize("made", [new_access_key_id, new_device_access_key_id, new_token_id, new_password])
def test_none_begins_like_an_option(made: Callable[[], str]) -> None:
    # By base64 one in 64 would begin with a dash.
    words = {made() for _ in range(1_000)}
    assert len(words) == 1_000
    assert all(re.fullmatch(r"(DC\.)?[A-Za-z0-9]{16,}", word) for word in words)
