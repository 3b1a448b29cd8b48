"""Arguments: a folder in which mlflow has its store and logs runs, and others at which that store is read.

Prints the id of the run that has the metrics.
"""

import sys
from pathlib import Path

import mlflow
import numpy as np
from sklearn.linear_model import LinearRegression

FEATURES = np.arange(20.0).reshape(10, 2)


def write(folder):
    mlflow.set_tracking_uri(folder.as_uri())
    mlflow.set_experiment("digits")
    with mlflow.start_run() as run:
        mlflow.log_params({"rate": 0.1, "depth": 3})
        mlflow.set_tag("purpose", "a test")
        for step in range(20):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_text("a report\n", "reports/summary.txt")
        mlflow.log_dict({"classes": 10}, "config.json")
        mlflow.log_artifact(__file__)
    with mlflow.start_run():  # a run of its own: log_model logs the metrics of its run once more
        model = LinearRegression().fit(FEATURES, FEATURES.sum(axis=1))
        info = mlflow.sklearn.log_model(model, name="model", serialization_format="cloudpickle", pip_requirements=[])
    found = mlflow.search_runs(experiment_names=["digits"], filter_string="params.depth = '3'")
    assert list(found.run_id) == [run.info.run_id]
    (model_file,) = folder.rglob(f"models/{info.model_id}/artifacts/MLmodel")
    return run.info.run_id, model_file.parent.relative_to(folder)


def read(run_id, model, folder):
    client = mlflow.MlflowClient(folder.as_uri())
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"rate": "0.1", "depth": "3"}
    assert run.data.tags["purpose"] == "a test"
    history = client.get_metric_history(run_id, "loss")
    assert [(each.step, each.value) for each in history] == [(step, 1 / (step + 1)) for step in range(20)]
    artifacts = folder / run.info.experiment_id / run_id / "artifacts"
    assert (artifacts / "reports" / "summary.txt").read_text() == "a report\n"
    assert (artifacts / Path(__file__).name).read_bytes() == Path(__file__).read_bytes()
    for load in (mlflow.sklearn.load_model, mlflow.pyfunc.load_model):
        assert np.allclose(load(str(folder / model)).predict(FEATURES), FEATURES.sum(axis=1))


if __name__ == "__main__":
    here, *others = map(Path, sys.argv[1:])
    run_id, model = write(here)
    for folder in (here, *others):
        read(run_id, model, folder)
    print(run_id)
