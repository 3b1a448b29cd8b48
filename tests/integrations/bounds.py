"""What ZenML's artifact store lets nobody do, and what it leaves alone."""

from zenml.client import Client
from zenml.io.filesystem_registry import default_filesystem_registry as registry

from mountd.integrations.zenml import MountdArtifactStoreConfig


def tried(root):
    """Return what came of trying to leave the active artifact store, which is at `root` + "/artifacts"."""
    store = Client().active_stack.artifact_store
    inside = f"{root}/artifacts/a"
    let_through, checked = [], []
    outside = ("/etc/passwd", f"{root}/other/a", f"{root}/artifacts-of-others/a", f"{root}/artifacts/../a", "s3://x/a")
    for path in outside:
        for name, arguments in (("open", (path,)), ("copyfile", (inside, path)), ("exists", (path,))):
            try:
                getattr(store, name)(*arguments)
                let_through.append([name, path])
            except FileNotFoundError:
                pass
            # ZenML's own check wraps each method, with the numbers of the arguments that it found to be paths.
            checked.append(bool(getattr(store, name).path_args))
    return {
        "let through": let_through,
        "ZenML checks": all(checked),
        "local files": registry.get_filesystem_for_path("/tmp/x").__name__,
        "schemes": sorted(registry._filesystems),
        "walked when pruned": len([directories.clear() for _, directories, _ in store.walk(store.path)]),
        "paths": [taken(path) for path in ("s3://b/a/", "s3://", "s3://b//a", "s3://b/../a", "/a")],
    }


def taken(path):
    """Return how the configuration takes a path, `None` where it does not."""
    try:
        return MountdArtifactStoreConfig(path=path).path
    except Exception:  # of ZenML, or of pydantic
        return None
