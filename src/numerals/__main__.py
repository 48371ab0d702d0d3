"""python -m numerals: the command line."""

from numerals.app.cli import main

if __name__ == "__main__":
    main()
