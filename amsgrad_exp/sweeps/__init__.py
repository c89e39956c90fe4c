"""Computes, stores, verifies and draws the cells of sweeps and gauntlets."""
