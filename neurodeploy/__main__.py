"""`python -m neurodeploy`."""

from neurodeploy.cli import main

if __name__ == "__main__":
    main(prog_name="neurodeploy")
