"""Whole planes: a grid's cells computed, kept and drawn."""
