"""The waiting of threads, set when this module is imported. Programs import it before anything that loads torch.

A thread of libgomp that waits turns a thousand times and then sleeps (the library's default: 300,000 times), so that
processes that share cores leave them to one another. ``OMP_WAIT_POLICY`` or ``GOMP_SPINCOUNT`` of the user's decide
otherwise.
"""

from __future__ import annotations

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
