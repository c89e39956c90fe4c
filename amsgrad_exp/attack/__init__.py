"""The search for a problem on which an optimizer fails: what is tried, shrunk and confirmed (docs/attack.md)."""
