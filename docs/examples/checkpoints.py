"""Checkpoints of a training, saved straight into the store; the next run goes on from the last one.

python checkpoints.py                            the active store; it is mounted if it is not
python checkpoints.py s3://my-bucket/artifacts   another one
"""

import sys
from pathlib import Path

import torch

import mountd

EPOCHS = 3


def train(folder: Path) -> None:
    """Train for some epochs, from the last checkpoint in the folder on; save one after each."""
    model = torch.nn.Sequential(torch.nn.Linear(64, 4096), torch.nn.ReLU(), torch.nn.Linear(4096, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0001)
    before = sorted(folder.glob("epoch-*.pt"))
    first = 0
    if before:
        # With mmap=True, what is not looked at is not fetched.
        checkpoint = torch.load(before[-1], mmap=True)
        model.load_state_dict(checkpoint["model"])
        optimizer.load_state_dict(checkpoint["optimizer"])
        first = checkpoint["epoch"] + 1
        print(f"goes on after {mountd.uri(before[-1])}")
    for epoch in range(first, first + EPOCHS):
        optimizer.zero_grad()
        loss = model(torch.ones(8, 64)).square().mean()
        loss.backward()
        optimizer.step()
        path = folder / f"epoch-{epoch:03}.pt"
        # No temporary name: the object is there whole, once the file is closed, or not at all.
        torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        print(f"saved {mountd.uri(path)}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    with mountd.mounted(sys.argv[1] if len(sys.argv) > 1 else None) as root:
        checkpoints = root / "examples" / "checkpoints"
        checkpoints.mkdir(parents=True, exist_ok=True)
        train(checkpoints)
