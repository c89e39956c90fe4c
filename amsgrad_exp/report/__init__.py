"""Turns recorded runs, sweeps, gauntlets and attacks into self-contained HTML pages.

`page_of` chooses the module that builds the page; `page` renders it. The charts are those of `charts`, drawn in the
browser by the JavaScript of vl-convert.
"""
