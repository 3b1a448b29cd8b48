"""A log in the store that every run appends to: seen at once on this machine, and by everybody after each sync.

python append_log.py                            the active store; it is mounted if it is not
python append_log.py s3://my-bucket/artifacts   another one
"""

import json
import sys
import time
from pathlib import Path

import mountd

STEPS, SYNC_EVERY = 100, 25


def main(path: Path) -> None:
    """Append a line for each step."""
    with open(path, "a", buffering=1) as file:  # a line is written as soon as it ends
        for step in range(STEPS):
            file.write(json.dumps({"time": time.time(), "step": step, "loss": 1 / (step + 1)}) + "\n")
            # `tail -f` on this machine shows the line now. Storing an object that grows costs a request each time,
            # so others get it in larger pieces.
            if (step + 1) % SYNC_EVERY == 0:
                mountd.sync(path)
                print(f"step {step}: {path.stat().st_size} bytes are in {mountd.uri(path)}")
    print(f"{len(path.read_text().splitlines())} lines of all runs")


if __name__ == "__main__":
    with mountd.mounted(sys.argv[1] if len(sys.argv) > 1 else None) as root:
        (root / "examples").mkdir(exist_ok=True)
        main(root / "examples" / "log.jsonl")
