"""For all tests."""

import os

# The programs that tests start, hundreds of times, would compile the project's modules anew each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
