"""Run the command as a module: `python -m mountd ...`."""

from mountd.cli import main

if __name__ == "__main__":
    main()
