"""The command line: one thin function a command, one module a subject. Results go to stdout, notes to stderr."""

import sys

# The order in which --help lists the commands.
from infdet_deploy.cli import training  # isort: split

from infdet_deploy.cli import bundles  # isort: split

from infdet_deploy.cli import bench  # isort: split

from infdet_deploy.cli import live  # isort: split

from infdet_deploy.cli import verify  # isort: split

from infdet_deploy.cli import datasets, evaluation, weights
from infdet_deploy.cli.app import app
from infdet_deploy.errors import InfdetError, one_line

__all__ = ["app", "bench", "bundles", "datasets", "evaluation", "live", "main", "training", "verify", "weights"]

INTERRUPTED = 130  # the exit status that Ctrl-C gives: 128 + SIGINT


def main() -> None:
    """Entry point: every error a user can cause is one line on stderr and exit status 1 or 2."""
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
