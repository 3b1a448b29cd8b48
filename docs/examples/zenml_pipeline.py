"""A ZenML pipeline whose artifacts are in a store that mountd has mounted.

zenml artifact-store flavor register mountd.integrations.zenml.MountdArtifactStoreFlavor
zenml artifact-store register prod --flavor=mountd --path=s3://my-bucket/artifacts
zenml stack register prod --artifact-store=prod --orchestrator=default --set
mountd mount --zenml
python zenml_pipeline.py
"""

from pathlib import Path
from tempfile import mkdtemp
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from zenml import pipeline, step
from zenml.enums import ArtifactType
from zenml.logger import get_logger
from zenml.materializers.base_materializer import BaseMaterializer

import mountd

logger = get_logger(__name__)


class Measurements:
    """A table that pandas itself writes into the store."""

    def __init__(self, table: pd.DataFrame) -> None:
        self.table = table


class MeasurementsMaterializer(BaseMaterializer):
    """The artifact's place is a folder like any other: no temporary file, no upload."""

    ASSOCIATED_TYPES: ClassVar[tuple[type, ...]] = (Measurements,)
    ASSOCIATED_ARTIFACT_TYPE: ClassVar[ArtifactType] = ArtifactType.DATA

    def save(self, data: Measurements) -> None:
        """Write the table straight to the artifact."""
        data.table.to_parquet(mountd.path(self.uri) / "table.parquet")

    def load(self, data_type: type[Any]) -> Measurements:
        """Read it from there: only the columns and rows that somebody wants would come from the store."""
        return Measurements(pd.read_parquet(mountd.path(self.uri) / "table.parquet"))


@step
def make() -> tuple[
    Annotated[pd.DataFrame, "frame"], Annotated[np.ndarray, "array"], Annotated[dict[str, int], "counts"]
]:
    """Make a table, an array and a dictionary."""
    frame = pd.DataFrame({"x": range(10), "y": [2.0 * x + 1 for x in range(10)]})
    return frame, frame.to_numpy(), {"rows": len(frame)}


@step
def fit(frame: pd.DataFrame) -> Annotated[LinearRegression, "model"]:
    """Fit a line."""
    return LinearRegression().fit(frame[["x"]], frame["y"])


@step
def report(model: LinearRegression) -> Annotated[Path, "report"]:
    """Write a folder of files, and a line to the step's log."""
    logger.info("The slope is %.3f", model.coef_[0])
    folder = Path(mkdtemp())
    (folder / "slope.txt").write_text(f"{model.coef_[0]:.3f}\n")
    return folder


@step(output_materializers={"measurements": MeasurementsMaterializer})
def measure(frame: pd.DataFrame) -> Annotated[Measurements, "measurements"]:
    """Return what its materializer writes without a temporary file."""
    return Measurements(frame)


@pipeline(enable_cache=False)
def example() -> None:
    """Make, fit, report."""
    frame, _, _ = make()
    report(fit(frame))
    measure(frame)


if __name__ == "__main__":
    example()
