"""Archives as Python's zipfile writes them, looked at while they are written."""

import io
import os
import zipfile

import pytest

from mountd.writeback.revisit import Revisits

DATA = os.urandom(200_000)


class Pipe(io.BytesIO):
    """What zipfile finds it cannot seek in."""

    def tell(self):
        """Nothing can be told of a pipe."""
        raise io.UnsupportedOperation


def expected(written, part=100_000):
    """Return the numbers of the complete parts that will change, looked at in order."""
    revisits = Revisits()
    parts = [written[at : at + part] for at in range(0, len(written) // part * part, part)]
    return [number for number, data in enumerate(parts, 1) if revisits.expects(number, memoryview(data))]


@pytest.mark.parametrize("large", [False, True])
def test_a_part_waits_as_long_as_a_member_in_it_is_open(large):
    """Wherever in the part it begins; empty ones and those that are closed are in nobody's way."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("empty/", b"")
        archive.writestr("also empty", b"")
        archive.writestr("closed", DATA[:50_000])
        with archive.open("first", "w", force_zip64=large) as member:
            member.write(DATA)
            assert expected(file.getvalue()) == [1]
        assert expected(file.getvalue()) == []
        with archive.open("second", "w", force_zip64=large) as member:
            member.write(DATA)
            assert expected(file.getvalue()) == [3]
    assert expected(file.getvalue()) == []


def test_a_program_that_cannot_go_back_is_not_waited_for():
    """It writes sizes behind what they are of."""
    file = Pipe()
    with zipfile.ZipFile(file, "w") as archive, archive.open("first", "w") as member:
        member.write(DATA)
        assert expected(file.getvalue()) == []


def test_what_looks_like_a_header_elsewhere_is_nothing():
    """Only archives are looked through; headers may be cut off anywhere."""
    header = b"PK\x03\x04" + bytes(26) + b"data"
    assert expected(b"x" + header + DATA) == []
    assert expected(header + DATA) == [1]
    for length in range(len(header)):
        Revisits().expects(1, header[:length])
        assert expected(header + DATA[: 99_999 - len(header) - length] + header + DATA)[:1] == [1]


def test_the_first_part_of_an_hdf5_file_waits_for_its_end():
    """It is told there where the file ends."""
    assert expected(b"\x89HDF\r\n\x1a\n" + DATA) == [1]
