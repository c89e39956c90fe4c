"""``python -m amsgrad_exp`` is ``amsgrad-exp``."""

from amsgrad_exp.cli import main

main()
