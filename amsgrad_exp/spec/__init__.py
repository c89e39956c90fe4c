"""Describes what is to be run, and reads and checks it from YAML and the command line."""
