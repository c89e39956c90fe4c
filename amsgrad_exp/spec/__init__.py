"""What is to be run: values, checked, read from YAML and the command line."""
