"""A DataLoader of torch whose four worker processes read samples from the store, shuffled.

python dataloader.py                            the active store; it is mounted if it is not
python dataloader.py s3://my-bucket/artifacts   another one
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

import mountd

SAMPLES, CLASSES = 200, 4


class Samples(Dataset[tuple[torch.Tensor, int]]):
    """A folder of files, a sample each. Workers get the paths; the mount is there for every process."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*.pt"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        sample = torch.load(self.paths[index])
        return sample["values"], sample["label"]


def make(folder: Path) -> None:
    """Write samples where there are none yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(SAMPLES):
        path = folder / f"{number:04}.pt"
        if not path.exists():
            torch.save({"values": torch.full((256,), number / SAMPLES), "label": number % CLASSES}, path)


def main(folder: Path) -> None:
    """Read all samples twice."""
    make(folder)
    # Small files that are read shuffled are fetched ahead anyway; this has them all here before the first batch.
    print(f"fetched {mountd.warm(folder)} bytes of {mountd.uri(folder)}")
    loader = DataLoader(Samples(folder), batch_size=32, shuffle=True, num_workers=4)
    for epoch in range(2):
        labels = torch.cat([label for _, label in loader])
        print(f"epoch {epoch}: {len(labels)} samples, of each class {torch.bincount(labels).tolist()}")


if __name__ == "__main__":
    with mountd.mounted(sys.argv[1] if len(sys.argv) > 1 else None) as root:
        main(root / "examples" / "samples")
