"""`python -m faceinv`: the command line."""

from faceinv.cli import main

if __name__ == "__main__":
    main()
