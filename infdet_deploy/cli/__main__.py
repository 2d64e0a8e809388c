"""`python -m infdet_deploy.cli`."""

from infdet_deploy.cli import main

main()
