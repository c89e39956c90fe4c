"""The command line; importing this package imports nothing heavy, so that Ctrl-C works from start-up."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with its exit status.

    Until a command handles Ctrl-C itself, it ends the process at once, with status 130. A KeyboardInterrupt could be
    raised inside an import, which may print it or turn it into another exception.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # --jobs distributes the work; torch's own threads would interfere
    try:
        import signal

        signal.signal(signal.SIGINT, lambda number, frame: os._exit(128 + number))
        from amsgrad_exp.cli import app
    except KeyboardInterrupt:
        os._exit(130)
    sys.exit(app.run())
