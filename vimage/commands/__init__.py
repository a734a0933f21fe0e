"""The verbs of the command line: the table of them, and a module for each."""
