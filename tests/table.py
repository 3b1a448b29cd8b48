"""`python -m tests.table report.xml` prints how the suites did on each kind of store, as a table in Markdown.

The report is what `pytest --junitxml` writes, or several of them. A kind is the test's parameter of that name; files
whose tests have none do not appear.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict

KINDS = {
    "memory": "mountd's own memory",
    "pending": "changes that are in the journal",
    "overlaid": "memory, behind such a journal",
    "local": "a folder",
    "s3": "s3, SeaweedFS",
    "s3-prefix": "s3 below a prefix",
    "s3-poor": "s3, rclone serve s3",
    "gcs": "gcs, fake-gcs-server",
    "gcs-prefix": "gcs below a prefix",
    "azure": "azure, Azurite",
    "azure-prefix": "azure below a prefix",
    "azure-folders": "azure with a hierarchical namespace",
    "fsspec-memory": "fsspec memory://",
    "fsspec-local": "fsspec file://",
    "webdav": "fsspec webdav://, rclone serve webdav",
    "custom": "custom, tests/flavor_package",
}
# In the mount suite, `memory` is the fsspec protocol.
ALIASES = {("mount", "memory"): "fsspec-memory"}


def outcomes(paths):
    """Yield suite, kind and outcome of each test that ran on a kind of store."""
    for path in paths:
        for case in ElementTree.parse(path).iter("testcase"):
            module = case.get("classname").removeprefix("tests.")
            kind = kind_of(case.get("name").partition("[")[2].removesuffix("]"))
            if kind is not None:
                folder, _, suite = module.partition(".")
                yield f"{folder}/{suite.removeprefix('test_')}", ALIASES.get((folder, kind), kind), outcome_of(case)


def kind_of(parameters):
    """Return the kind that a test's parameters, joined by hyphens, begin with; the longest name that fits."""
    fitting = [kind for kind in KINDS if f"{parameters}-".startswith(f"{kind}-")]
    return max(fitting, key=len, default=None)


def outcome_of(case):
    found = {child.tag for child in case}
    return "failed" if found & {"failure", "error"} else "skipped" if "skipped" in found else "passed"


def table(paths):
    """Return the table: a row for each kind, a column for each suite, passed / failed / skipped."""
    counts = defaultdict(Counter)
    for suite, kind, outcome in outcomes(paths):
        counts[kind, suite][outcome] += 1
    suites = sorted({suite for _, suite in counts})
    lines = [f"| passed / failed / skipped | {' | '.join(suites)} |", f"|---|{'---|' * len(suites)}"]
    for kind, name in KINDS.items():
        cells = [counts.get((kind, suite)) for suite in suites]
        if any(cells):
            shown = [f"{c['passed']} / {c['failed']} / {c['skipped']}" if c else "" for c in cells]
            lines.append(f"| {name} | {' | '.join(shown)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(sys.argv[1:]))
