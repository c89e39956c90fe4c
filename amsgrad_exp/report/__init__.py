"""One page to look at, share and teach from: recorded runs or a sweep as one HTML file that fetches nothing.

`find.page_of` finds what is meant; each kind of record has one module that builds its page: `runs`, `sweeps`.
`page` renders it. Plots are Vega-Lite, written by Altair and drawn by the JavaScript that vl-convert carries.
"""
