"""`python -m holdfast`: the command line."""

from .cli.app import main

main()
