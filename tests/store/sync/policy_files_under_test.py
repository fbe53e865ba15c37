"""Policy files as tests write them, and what is wrong with them."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from store.sync.document import InvalidPolicy, Policy, load_policy

FIXTURES = Path(__file__).parents[2] / "data" / "policies"
CANARY = "CANARY"


def fixture(name: str) -> Policy:
    return load_policy([FIXTURES / f"{name}.yaml"])


def write(folder: Path, **files: str) -> Path:
    """A folder of files; each begins with its format unless it says one."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        head = "" if "format:" in text else "format: exhook/v1\n"
        (folder / f"{name}.yaml").write_text(head + text)
    return folder


def errors(*paths: Path) -> list[str]:
    with pytest.raises(InvalidPolicy) as caught:
        load_policy(paths)
    assert str(caught.value) == "\n".join(str(error) for error in caught.value.errors)
    return [str(error) for error in caught.value.errors]


def error_of(folder: Path, text: str) -> str:
    [error] = errors(write(folder, one=text))
    return error.removeprefix(f"{folder}/one.yaml:")


def warnings(*paths: Path) -> list[str]:
    return [str(warning) for warning in load_policy(paths).warnings]


def unhurried(examples: int = 100) -> settings:
    """For properties that read files: a busy machine draws, and reads, slowly."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
