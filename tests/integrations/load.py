"""Load the artifacts of the example, argv[1], through ZenML, try to leave the artifact store in the bucket argv[2], and
print what came of both, as JSON.
"""

import importlib.util
import json
import sys

from bounds import tried
from zenml.client import Client

# What was stored by a script's class is loaded by it.
spec = importlib.util.spec_from_file_location("zenml_pipeline", sys.argv[1])
sys.modules["zenml_pipeline"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)

client = Client()
load = lambda name: client.get_artifact_version(name).load()  # noqa: E731
print(
    json.dumps(
        {
            "frame": load("frame")["y"].tolist(),
            "array": load("array").shape,
            "counts": load("counts"),
            "model": round(float(load("model").predict([[100]])[0]), 6),
            "report": (load("report") / "slope.txt").read_text(),
            "measurements": load("measurements").table["x"].tolist(),
            "uris": {
                name: client.get_artifact_version(name).uri
                for name in ("frame", "array", "counts", "model", "report", "measurements")
            },
            "bounds": tried(sys.argv[2]),
        }
    )
)
