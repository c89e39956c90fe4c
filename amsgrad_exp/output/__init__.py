"""Prints tables and progress, and draws figures."""
