"""Charts in Vega-Lite: one description each, drawn by a page's JavaScript and as PNG and SVG files."""
