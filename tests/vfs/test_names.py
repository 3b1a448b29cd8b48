"""File names and keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mountd.errors import NameTooLong
from mountd.vfs.names import component, is_twin, name_of

names = st.one_of(
    st.binary(min_size=1, max_size=80),
    st.text(min_size=1, max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")),
).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..") and not is_twin(name))


@given(names)
def test_every_name_has_a_key_that_leads_back_to_it(name):
    """Any byte but slash and NUL survives the way to the store and back."""
    assert name_of(component(name)) == name


@given(names)
def test_keys_can_be_encoded(name):
    """Services take keys as UTF-8, so a key must not hold surrogates."""
    component(name).encode("utf-8")


@given(st.text(min_size=1, max_size=60).filter(lambda t: not any("\uef80" <= c <= "\uefff" for c in t)))
def test_plain_text_is_its_own_key(text):
    """Other clients see the names that programs gave."""
    try:
        name = text.encode()
    except UnicodeEncodeError:
        return
    if b"/" not in name and b"\0" not in name:
        assert component(name) == text


def test_a_name_of_more_than_255_bytes_is_refused():
    """The limit is in bytes, as on every Linux file system."""
    component("ä".encode() * 127)
    with pytest.raises(NameTooLong):
        component("ä".encode() * 128)


@pytest.mark.parametrize("text", ["", ".", "..", "a\0b", "x" * 256])
def test_keys_without_a_place_in_a_file_system_have_no_name(text):
    """They are left out of listings instead of breaking them."""
    assert name_of(text) is None
