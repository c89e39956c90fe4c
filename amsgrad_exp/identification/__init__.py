"""Identifies the published rule that an implementation follows, and where it departs from it."""
