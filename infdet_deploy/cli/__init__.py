"""The command line: one file a command. Each parses, fills in defaults, calls the Python function and prints.

Results go to stdout, notes and progress to stderr.
"""

from infdet_deploy.cli.main import main as main
