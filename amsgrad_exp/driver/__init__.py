"""Engines driven: chunks, fast-forwarding, what came out."""
