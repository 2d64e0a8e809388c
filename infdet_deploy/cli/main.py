"""The entry point: every error that a user can cause becomes one line on stderr and an exit status.

0: done. 1: an input is wrong or a check failed: damaged, out of tolerance. 2: the request is wrong: an unknown value,
options that exclude each other, a path that does not exist. 130: interrupted by Ctrl-C.
"""

import sys

from infdet_deploy.cli.app import app
from infdet_deploy.errors import exit_status, one_line
from infdet_deploy.text import prepare_output, visible

INTERRUPTED = 130  # 128 + SIGINT


def main() -> None:
    """Run the command line and exit with its status."""
    prepare_output()
    try:
        status = app(standalone_mode=False) or 0
    except Exception as error:
        # Errors of the parser (click or the copy of it inside typer) have their own message and exit status.
        if hasattr(error, "format_message"):
            line, status = _parser_error(error), 2
        else:
            line, status = one_line(error), exit_status(error)
        if line is None:
            raise
        print(f"infdet-deploy: {visible(line)}", file=sys.stderr)
    if status == INTERRUPTED:
        print("infdet-deploy: interrupted", file=sys.stderr)
    sys.exit(status)


def _parser_error(error: Exception) -> str | None:
    """A parser's message in one line, with the command whose help explains it; None where help was printed."""
    message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    message = message.replace(": Value error, ", ": ")  # how pydantic, which newer typer uses, begins its own messages
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)  # type: ignore[attr-defined]
        sys.exit(2)
    return f"{message[:1].lower()}{message[1:]}" + (f"; see {context.command_path} --help" if context else "")
