"""Engines: what advances an optimizer on a problem. They know nothing of experiments, files or screens.

`OPTIMIZERS` is the registry of the project's own optimizers; each name has a class for the torch engine, here by
its import path so that naming it costs nothing, and may have a rule in `rules.RULES` for the compiled one.
"""

OPTIMIZERS = {
    "adam": "amsgrad_exp.optimizers.Adam",
    "amsgrad": "amsgrad_exp.optimizers.AMSGrad",
}
