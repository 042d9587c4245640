"""`mpipar`: the command line. Each command is a few lines over a function that can be imported."""

from mpipar.cli.main import app, main

__all__ = ["app", "main"]
