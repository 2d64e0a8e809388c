"""`python -m infdet_deploy`."""

from infdet_deploy.cli import main

main()
