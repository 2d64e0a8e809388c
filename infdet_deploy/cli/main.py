"""The entry point: it turns every error that a user can cause into one line on stderr and an exit status."""

import sys

from infdet_deploy.cli.app import app
from infdet_deploy.errors import InfdetError, one_line

INTERRUPTED = 130  # the exit status that Ctrl-C gives: 128 + SIGINT


def main() -> None:
    """Run the command line; exit status 1 when something is wrong, 2 when the request is."""
    try:
        app()
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            print("infdet-deploy: interrupted", file=sys.stderr)
        raise
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        print(f"infdet-deploy: {line}", file=sys.stderr)
        sys.exit(error.exit_status if isinstance(error, InfdetError) else 1)
