"""os-ken's manager, as /usr/bin/osken-manager starts it, but without pyOpenSSL.

eventlet takes that where it is there, for the exceptions' names alone: a sixth of the engine's whole start. Rule: what
OpenFlow over TLS would need (the standard library's ssl) stays.
"""

from __future__ import annotations

import sys

sys.modules["OpenSSL"] = None  # type: ignore[assignment]  # as if it were not installed; eventlet does without

from os_ken.cmd.manager import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
