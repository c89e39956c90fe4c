"""Describes what to run, and reads and checks such descriptions from YAML and the command line."""
