"""Conversations of any kind with a connection of the carrier h2: what once broke it, and what chance finds."""

from pathlib import Path

import pytest
from conversation_under_test import converse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from worker_under_test import DATA

FOUND = sorted((DATA / "conversations").iterdir())


@pytest.mark.parametrize("file", FOUND, ids=lambda file: file.name)
def test_what_once_broke_it(file: Path) -> None:
    converse(file.read_bytes())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400))
@example(b"")
def test_any_conversation(script: bytes) -> None:
    converse(b"\1" + script)
