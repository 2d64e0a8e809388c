"""The command line: one file a command. Each parses, fills in defaults, calls the Python function and prints.

Results go to stdout, notes and progress to stderr.
"""

import importlib

from infdet_deploy.cli.app import app
from infdet_deploy.cli.main import main

# One module a command, in the order in which --help lists them; importing a module registers its command.
COMMANDS = (
    "train", "export", "detect", "watch", "eval", "verify", "check", "bench", "build", "sign", "import_weights",
    "ablate", "complexity", "dataset", "doctor", "demo",
)  # fmt: skip
for _name in COMMANDS:
    importlib.import_module(f"infdet_deploy.cli.{_name}")

__all__ = ["COMMANDS", "app", "main"]
