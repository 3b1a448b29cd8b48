"""Run the command from a checkout: `python cli.py ...`."""

from mountd.cli import main

if __name__ == "__main__":
    main()
