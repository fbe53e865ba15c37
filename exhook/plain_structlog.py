"""structlog, loaded without Rich.

Where Rich is installed structlog loads it, to show tracebacks with the values of local variables. No log may show those
(pitfall 12), and Rich takes longer to load than structlog itself.
"""

import sys

_loaded = "rich" in sys.modules
if not _loaded:
    sys.modules["rich"] = None  # type: ignore[assignment]  # to the import statement: it is not there
try:
    import structlog
finally:
    if not _loaded:
        del sys.modules["rich"]

__all__ = ["structlog"]
