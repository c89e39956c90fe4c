"""The command line: parse, call, print. Importing it imports nothing else, so that Ctrl-C is minded from early on."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with its status.

    Ctrl-C ends the process at once, with status 130, until a command minds it: an exception would be raised in the
    middle of somebody's import, where it may be printed, or turned into another.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # work is shared out by --jobs; torch's own threads get in its way
    try:
        import signal

        signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
        from amsgrad_exp.cli import app
    except KeyboardInterrupt:
        os._exit(130)
    sys.exit(app.run())
