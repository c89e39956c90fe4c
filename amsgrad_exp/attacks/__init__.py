"""Searches for a problem on which an optimizer fails, shrinks it and confirms it (docs/attack.md)."""
