"""`python -m exhook`: the same as the command `exhook`."""

from exhook.cli import main

main()
