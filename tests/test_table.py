"""The table of suites and kinds of stores that `make table` prints."""

from tests.table import table

REPORT = """
<testsuites><testsuite>
<testcase classname="tests.objects.test_contract" name="test_a[s3-prefix]"/>
<testcase classname="tests.objects.test_contract" name="test_b[s3-prefix-with - hyphen]"><failure/></testcase>
<testcase classname="tests.objects.test_contract" name="test_c[s3-poor]"><skipped/></testcase>
<testcase classname="tests.objects.test_contract" name="test_a[memory]"/>
<testcase classname="tests.mount.test_calls" name="test_a[memory]"><error/></testcase>
<testcase classname="tests.unit.test_units" name="test_a[1MiB]"/>
<testcase classname="tests.unit.test_units" name="test_b"/>
</testsuite></testsuites>
"""


def test_outcomes_are_counted_by_kind_and_suite(tmp_path):
    """Errors are failures; tests without a kind of store do not appear; `memory` means another store in each suite."""
    (tmp_path / "report.xml").write_text(REPORT)
    assert table([tmp_path / "report.xml"]).splitlines() == [
        "| passed / failed / skipped | mount/calls | objects/contract |",
        "|---|---|---|",
        "| mountd's own memory |  | 1 / 0 / 0 |",
        "| s3 below a prefix |  | 1 / 1 / 0 |",
        "| s3, rclone serve s3 |  | 0 / 0 / 1 |",
        "| fsspec memory:// | 0 / 1 / 0 |  |",
    ]
