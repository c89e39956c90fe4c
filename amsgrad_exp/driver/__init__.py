"""Runs engines to the end in chunks, fast-forwards periodic runs and computes their results."""
