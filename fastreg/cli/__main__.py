"""`python -m fastreg.cli`: the same as the program `fastreg`."""

from fastreg.cli.main import main

main()
