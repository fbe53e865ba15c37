"""Looks for bytes that make a connection of the carrier h2 crash, hang or grow: libFuzzer by way of atheris.

    python tests/soak/fuzz_frames.py [FOLDER] [-max_total_time=SECONDS] [libFuzzer's other options]

FOLDER keeps what it found interesting, and is where it begins the next time. An input that broke something is written
to `crash-…`; put it into tests/data/conversations/ once mended, where the suite tries it for ever.
"""

import os
import sys
from pathlib import Path

import atheris

TESTS = Path(__file__).parent.parent
FOUND = TESTS / "data" / "conversations"
sys.path[:0] = [str(TESTS / "exhook")]

with atheris.instrument_imports(include=["exhook.transport"]):
    from conversation_under_test import converse


def main() -> None:
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    for folder in folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    options = ["-timeout=10", "-len_control=0", "-rss_limit_mb=1024", "-max_len=2048", "-print_final_stats=1"]
    atheris.Setup([sys.argv[0], *options, *sys.argv[1:], str(FOUND)], converse)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("ASAN_OPTIONS", "detect_leaks=0")
    main()
