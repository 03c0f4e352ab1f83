"""`python -m flashsale`."""

from __future__ import annotations

from flashsale.cli import main

if __name__ == "__main__":
    main()
