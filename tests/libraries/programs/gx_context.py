"""Arguments: a folder for a context of Great Expectations and its data, and one at which another mount shows it.

Prints, for the data as they are made and for the data with a wrong line more, seen there, whether they are as expected
and how many values are not. Data are found from the working folder: a path of one machine would be kept in the context.
"""

import os
import sys
from pathlib import Path

import great_expectations as gx
import pandas as pd


def make(folder):
    os.chdir(folder)
    pd.DataFrame({"digit": [1, 2, 9], "word": ["one", "two", "nine"]}).to_csv(folder / "words.csv", index=False)
    context = gx.get_context(mode="file", project_root_dir=folder)
    files = context.data_sources.add_pandas_filesystem("files", base_directory=Path("."))
    batch = files.add_csv_asset("words").add_batch_definition_path("all", path="words.csv")
    suite = context.suites.add(gx.ExpectationSuite("suite"))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToBeBetween(column="digit", min_value=0, max_value=9))
    suite.add_expectation(gx.expectations.ExpectColumnValuesToNotBeNull(column="word"))
    validation = context.validation_definitions.add(gx.ValidationDefinition(name="words", data=batch, suite=suite))
    docs = gx.checkpoint.UpdateDataDocsAction(name="docs")
    context.checkpoints.add(gx.Checkpoint(name="check", validation_definitions=[validation], actions=[docs]))


def run(folder):
    os.chdir(folder)
    context = gx.get_context(mode="file", project_root_dir=folder)
    result = context.checkpoints.get("check").run()
    (validated,) = result.run_results.values()
    rows = sum(each.result.get("unexpected_count", 0) for each in validated.results)
    print(result.success, rows)


if __name__ == "__main__":
    here, there = map(Path, sys.argv[1:])
    make(here)
    run(here)
    with open(here / "words.csv", "a") as file:
        file.write("10,ten\n")
    run(there)
