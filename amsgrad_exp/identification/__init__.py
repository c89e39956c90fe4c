"""Which published rule an implementation follows, and where it departs from it."""
