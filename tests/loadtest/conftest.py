"""Makes the load tests importable, wherever they are: their folder is no part of the package."""

from __future__ import annotations

import sys

from flashsale.shipped import shipped

sys.path.insert(0, str(shipped("loadtest").parent))
