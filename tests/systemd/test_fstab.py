"""`mount -t mountd`, a line of fstab, and `umount`, with the programs of util-linux, where nobody else sees them."""

import json
import os
import sys

import pytest

from tests.harness import mounts_below
from tests.systemd.namespace import open_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mount(8) and namespaces take root")

# /sbin is a link to usr/sbin: whatever is put there shows in the namespace alone.
PREPARE = """
mkdir -p {folder}/upper {folder}/work
mount -t overlay overlay -o lowerdir=/usr/sbin,upperdir={folder}/upper,workdir={folder}/work /usr/sbin
helper() {{
    printf '#!/bin/sh\\nexec {python} -c "from mountd.commands.fstab import %s; %s()" "$@"\\n' $1 $1 > /usr/sbin/$2
    chmod +x /usr/sbin/$2
}}
helper main_mount mount.mountd
helper main_unmount umount.fuse.mountd
"""


@pytest.fixture
def machine(registered, tmp_path):
    """Yield a namespace whose mount(8) knows mountd, and the store `prod`."""
    prepare = PREPARE.format(folder=tmp_path, python=sys.executable)
    with open_namespace(prepare, ["sleep", "1000"], env=registered.environment) as namespace:
        yield namespace


def test_a_line_of_fstab_mounts_and_umount_waits_for_what_is_pending(machine, host, bucket, tmp_path):
    """With its options, those for systemd left out, and without a trace afterwards."""
    point = host.folder / "mnt"
    point.mkdir()
    fstab = tmp_path / "fstab"
    fstab.write_text(f"prod {point} mountd noauto,_netdev,x-systemd.automount,write_back,freshness=30s 0 0\n")
    run = lambda *command, **more: machine.run(*command, env=host.environment, **more)  # noqa: E731
    run("mount", f"--fstab={fstab}", point)
    (state,) = json.loads(run(*host.command("status", "--json")).stdout)["mounts"]
    assert (state["write_back"], state["freshness"], state["mount_point"]) == (True, 30.0, str(point))
    assert "fuse.mountd" in run("findmnt", "--noheadings", "--output=FSTYPE", point).stdout
    run("sh", "-ec", f"echo hello > {point}/greeting")
    run("umount", point)
    assert bucket.get("greeting") == b"hello\n"
    assert json.loads(run(*host.command("status", "--json")).stdout) == {"mounts": [], "dead": []}
    assert not mounts_below(host.folder)


def test_mount_says_in_one_line_what_it_cannot_do(machine, host):
    """And exits as mount(8) wants it."""
    point = host.folder / "mnt"
    point.mkdir()
    for options, code, said in (
        ("frehsness=3", 1, "option frehsness=3: no mount setting is called 'frehsness'; did you mean freshness?"),
        ("ro", 32, "the mount point"),
    ):
        (point / "file").write_text("in the way")
        done = machine.run("mount", "-t", "mountd", "-o", options, "prod", point, check=False, env=host.environment)
        assert said in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.returncode == code
