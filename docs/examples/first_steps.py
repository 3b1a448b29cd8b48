"""First steps: a store mounted for the length of a block, plain open(), pandas, and where it all is in the store.

python first_steps.py                            a folder that stands for a store, and is gone afterwards
python first_steps.py s3://my-bucket/artifacts   a store of yours: a URI, a folder, or the name of a registered store
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

import mountd


def main(store: str, mount_point: Path | None = None) -> None:
    """Mount a store, write to it, read from it. A mount that is there already is used, and left alone."""
    with mountd.mounted(store, mount_point) as root:
        folder = root / "examples" / "first_steps"
        folder.mkdir(parents=True, exist_ok=True)

        with open(folder / "hello.txt", "w") as file:
            file.write("hello\n")
        # It is closed: from here on every other client of the store can read it.
        print("read back:", (folder / "hello.txt").read_text().strip())

        frame = pd.DataFrame({"step": range(1000), "loss": [1 / (step + 1) for step in range(1000)]})
        frame.to_parquet(folder / "metrics.parquet")
        losses = pd.read_parquet(folder / "metrics.parquet", columns=["loss"])
        print(f"read back: {len(losses)} rows, the last loss is {losses['loss'].iloc[-1]:.3f}")

        for path in sorted(folder.iterdir()):
            print(f"{path.stat().st_size:6} bytes  {mountd.uri(path)}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with TemporaryDirectory() as temporary:
            os.environ["XDG_STATE_HOME"] = f"{temporary}/state"  # cache and log of a store that goes go with it
            Path(temporary, "store").mkdir()
            main(f"{temporary}/store", Path(temporary, "mnt"))
