"""`python -m tests.libraries.page` writes the table of `docs/libraries.md` anew, from the tests beside this file.

What was checked is what the docstrings of a library's tests say; the rest is here.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent.parent / "docs" / "libraries.md"
TABLE = re.compile(r"(?<=<!-- table begins -->\n).*(?=<!-- table ends -->)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Library:
    """One row.

    Attributes:
        package: as pip calls it; None for what comes with Python.
        first, last: the oldest and the newest release that the tests were run with.
        hint: what its users should know, in Markdown.
    """

    package: str | None
    first: str
    last: str
    hint: str


LIBRARIES = {
    "numpy": Library("numpy", "2.1.3", "2.4.6", "`flush()` of a `memmap` stores it"),
    "h5py": Library("h5py", "3.12.1", "3.16.0", "`close()` stores it; `flush()` is for readers on the same mount"),
    "zarr": Library("zarr", "3.0.8", "3.1.6", "shards: a chunk that is an object has its [costs](#costs)"),
    "pandas": Library("pandas", "2.2.3", "3.1.1", ""),
    "pyarrow": Library("pyarrow", "18.1.0", "26.0.1", ""),
    "polars": Library("polars", "1.17.1", "2.1.0", ""),
    "duckdb": Library("duckdb", "1.2.2", "2.0.1", "see [databases](#databases)"),
    "sqlite3": Library(None, "3.40", "3.40", "see [databases](#databases); one machine writes"),
    "lmdb": Library("lmdb", "1.6.2", "3.0.0", "elsewhere `readonly=True, lock=False`; see [databases](#databases)"),
    "zipfile": Library(None, "3.11", "3.11", ""),
    "torch": Library("torch", "2.13.0", "2.13.0", "renaming a checkpoint copies it in the store"),
    "torch.distributed.checkpoint": Library("torch", "2.13.0", "2.13.0", "tried in one process"),
    "safetensors": Library(
        "safetensors", "0.4.5", "0.8.0", "0.8 saves by a temporary file, which has its [costs](#costs)"
    ),
    "onnx": Library("onnx", "1.17.0", "1.23.2", ""),
    "joblib": Library("joblib", "1.4.2", "1.6.0", "`Memory` pays for what takes longer than [eight requests](#costs)"),
    "lightgbm": Library("lightgbm", "4.5.0", "4.7.0", ""),
    "xgboost": Library("xgboost-cpu", "2.1.4", "3.2.0", "`xgboost-cpu`, without what graphics cards need"),
    "tensorboard": Library("tensorboard", "2.18.0", "2.21.0", "each `flush()` sends the file again: see `flush_secs`"),
    "mlflow": Library("mlflow-skinny", "3.1.4", "3.17.2", "`MLFLOW_ALLOW_FILE_STORE=true`; see [paths](#paths)"),
    "dvc": Library("dvc", "3.59.2", "3.67.1", "3.59 needs `pathspec<1`; see [costs](#costs) and [paths](#paths)"),
    "great_expectations": Library("great_expectations", "1.24.1", "1.24.1", "see [paths](#paths)"),
}


def checks():
    """Return what the tests check: for each library, the docstrings of its tests."""
    found = {}
    for path in sorted(FOLDER.glob("test_*.py")):
        for function in ast.parse(path.read_text()).body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                for name in marks(function):
                    found.setdefault(name, []).append(ast.get_docstring(function).rstrip("."))
    return found


def marks(function):
    """Return the names of the libraries that a test function is about."""
    calls = [each for each in function.decorator_list if isinstance(each, ast.Call)]
    return [each.args[0].value for each in calls if isinstance(each.func, ast.Name) and each.func.id == "library"]


def table():
    """Return the table in Markdown."""
    lines = ["| library | versions | what was checked | to know |\n", "|---|---|---|---|\n"]
    checked = checks()
    for name, each in LIBRARIES.items():
        versions = each.first if each.first == each.last else f"{each.first} to {each.last}"
        lines.append(f"| {name} | {versions} | {'. '.join(checked[name])} | {each.hint} |\n")
    return "".join(lines)


if __name__ == "__main__":
    PAGE.write_text(TABLE.sub(lambda _: table(), PAGE.read_text()))
