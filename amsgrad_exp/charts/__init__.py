"""Describes charts in Vega-Lite; one description serves a page's JavaScript and the PNG and SVG files."""
