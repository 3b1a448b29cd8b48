"""The manifest for Kubernetes hangs together: what is mounted is there, and propagates both ways."""

from pathlib import Path

import yaml

FOLDER = Path(__file__).parent.parent.parent / "docs/examples/container"


def test_the_manifest_is_whole():
    """Each volume that a container mounts is one of its Pod, and the mount is passed on from one to the other."""
    daemons, pod = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    specs = daemons["spec"]["template"]["spec"], pod["spec"]
    for spec in specs:
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {each["name"] for box in spec["containers"] for each in box["volumeMounts"]} == volumes
    (ours,), (theirs,) = (spec["containers"] for spec in specs)
    paths = [{each["name"]: each for each in box["volumeMounts"]}["artifacts"] for box in (ours, theirs)]
    assert [each["mountPropagation"] for each in paths] == ["Bidirectional", "HostToContainer"]
    assert ours["securityContext"]["privileged"] is True
    assert ours["args"][1] == paths[0]["mountPath"] == paths[1]["mountPath"]
    assert specs[0]["terminationGracePeriodSeconds"] > 60
