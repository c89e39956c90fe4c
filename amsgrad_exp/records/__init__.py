"""Runs on disk: recorded, resumed, read back, verified."""
