"""Turns recorded runs, sweeps, gauntlets and attacks into self-contained HTML pages.

A module for each kind of record builds its page; `page` renders it. The charts are those of `charts`, drawn in the
browser by the JavaScript of vl-convert.
"""
