"""Runs commands of DVC in one process, up to the first that fails.

Each line of standard input is one, in JSON: a list of the folder to be in, the command and its arguments.
"""

import json
import os
import sys

from dvc.cli import main

if __name__ == "__main__":
    for line in sys.stdin:
        folder, *command = json.loads(line)
        os.chdir(folder)
        if code := main(command):
            sys.exit(f"dvc {' '.join(command)}: {code}")
