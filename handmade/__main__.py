"""The command: ``python -m handmade``."""

from __future__ import annotations

if __name__ == "__main__":
    from handmade.commands import main

    main()
