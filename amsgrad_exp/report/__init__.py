"""Turns recorded runs, sweeps, gauntlets and attacks into self-contained HTML pages.

`find.page_of` finds the records. Each kind of record has a module that builds its page: `runs`, `sweeps`, `gauntlets`,
`attacks`. `page` renders it. Plots come from `charts`, and the JavaScript from vl-convert draws them.
"""
