"""`python -m clickscape` is the command line."""

from clickscape.cli import main

main()
