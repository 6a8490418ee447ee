"""`python -m seesame`."""

from seesame.cli import main

main()
