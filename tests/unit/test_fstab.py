"""Options of /etc/fstab as settings of a mount."""

import pytest

from mountd.commands.fstab import parse_options
from mountd.errors import UserError


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        ([], {}),
        (["defaults"], {}),
        (["rw,noauto,nofail,_netdev,x-systemd.automount,x-systemd.requires=a.service,comment=x"], {}),
        (["ro"], {"read_only": "true"}),
        (
            ["allow_other,freshness=30s", "umask=077"],
            {"allow_other": "true", "freshness": "30s", "umask": "077"},
        ),
        (["attributes=off,uid=5,"], {"attributes": "off", "uid": "5"}),
    ],
)
def test_what_is_for_mountd_becomes_settings(texts, settings):
    """What is for mount(8), systemd and the start of the machine is left to them."""
    assert parse_options(texts) == settings


@pytest.mark.parametrize("option", ["noexec", "frehsness=1", "freshness=soon", "uid", "remount", "user"])
def test_what_nobody_knows_is_refused(option):
    """By name, so that the line can be found."""
    with pytest.raises(UserError, match=option):
        parse_options([f"rw,{option}"])
