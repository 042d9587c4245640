"""`python -m mpipar.cli`, where the `mpipar` command is not on the path."""

from mpipar import failure
from mpipar.cli.main import main

if __name__ == "__main__":
    failure.install()
    main()
