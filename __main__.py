"""`supertile` and `python -m supertile`: the command line, or one sentence if its dependencies are missing."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Run the command line.

    Exits with 0 (done), 1 (a file failed), 2 (wrong usage), 3 (a video is incomplete), 130 (interrupted), 129, 143 or
    149 (terminated by SIGHUP, SIGTERM or SIGBREAK).
    """
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError:
        sys.exit("The supertile command needs typer and rich: pip install supertile[cli]")
    from .cli import app
    from .cli.streams import open_missing_descriptors, tolerant_streams

    if logging.lastResort is not None:  # warnings of the library go to standard error
        logging.getLogger(__package__).addHandler(logging.lastResort)
    open_missing_descriptors()
    with tolerant_streams():
        app(prog_name="supertile")


if __name__ == "__main__":
    main()
