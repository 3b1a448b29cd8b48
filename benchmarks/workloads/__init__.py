"""All workloads, by name, in the order of the table."""

from benchmarks.workloads import directories, learning, reading, small, writing

WORKLOADS = {
    each.name: each
    for each in (
        *reading.WORKLOADS,
        *small.READING,
        *directories.READING,
        *learning.READING,
        *writing.WORKLOADS,
        *small.WRITING,
        *directories.WRITING,
        *learning.WRITING,
    )
}
