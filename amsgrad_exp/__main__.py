"""Runs the command line for ``python -m amsgrad_exp``."""

from amsgrad_exp.cli import main

main()
