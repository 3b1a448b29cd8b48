"""The layers of DESIGN hold: imports point one way, and each library is imported only where its job is."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import mountd

PACKAGE = Path(mountd.__file__).parent

# From top to bottom: a module may import from its own layer and from those below. A name stands for the module and
# everything under it; the longest one that fits a module decides.
LAYERS = (
    ("mountd.cli", "mountd.commands", "mountd.__main__"),
    ("mountd.integrations",),
    ("mountd.fileio", "mountd.io_utils", "mountd.places"),
    ("mountd", "mountd.mounts"),
    ("mountd.daemon",),
    ("mountd.fuse",),
    ("mountd.vfs",),
    ("mountd.writeback",),
    ("mountd.data",),
    ("mountd.objects",),
    ("mountd.stores",),
    (
        "mountd.config",
        "mountd.crash",
        "mountd.errors",
        "mountd.failures",
        "mountd.locate",
        "mountd.metrics",
        "mountd.private",
        "mountd.redaction",
        "mountd.settings_file",
        "mountd.units",
    ),
)

_CLOUDS = ("mountd.objects", "mountd.stores")
LIBRARIES = {
    "pyfuse3": ("mountd.fuse",),
    "asyncio": ("mountd.objects.bridge",),
    "click": ("mountd.cli", "mountd.commands"),
    "rich": ("mountd.commands",),
    "zenml": ("mountd.integrations",),
    "prometheus_client": ("mountd.commands",),
    "fsspec": _CLOUDS,
    "s3fs": _CLOUDS,
    "gcsfs": _CLOUDS,
    "adlfs": _CLOUDS,
    "boto3": (),
    "botocore": _CLOUDS,
    "obstore": _CLOUDS,
    "aiobotocore": _CLOUDS,
    "aiohttp": _CLOUDS,
    "webdav4": _CLOUDS,
    "yarl": _CLOUDS,
    "sqlite3": ("mountd.writeback.journal",),
    # The local store has no service between itself and the kernel: what other stores read from error codes of a
    # service, it reads from errno.
    "errno": ("mountd.errors", "mountd.objects.folder", "mountd.objects.partial", "mountd.objects.native"),
}

# Importer, imported, and why the rule does not hold there.
EXCEPTIONS = {
    ("mountd.daemon.launch", "mountd"): "asks only where the package lies, so that the daemon's process finds the same",
}


@dataclass(frozen=True, slots=True)
class Import:
    """One module imported by another. `at_once`: when the importer is imported, not later or for type checkers."""

    importer: str
    imported: str
    line: int
    at_once: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.imported}"


def modules():
    """Yield name and path of every module of the package."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def names(node, importer):
    """Yield the full names of the modules that an import statement is about."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    else:
        package = importer if MODULES[importer].name == "__init__.py" else importer.rpartition(".")[0]
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            full = f"{base}.{alias.name}"
            yield full if full in MODULES else base


def statements(tree, *, at_once=True):
    """Yield every import statement below `tree`, and whether it runs when the module is imported."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, at_once
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from statements(node, at_once=False)
        else:
            later = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from statements(node, at_once=at_once and not later)


IMPORTS = [
    Import(importer, imported, node.lineno, at_once)
    for importer, tree in TREES.items()
    for node, at_once in statements(tree)
    for imported in names(node, importer)
]


def within(module, places):
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer(module):
    """Return the number of a module's layer, counted from the top; `None` where it has none."""
    fitting = [(len(name), number) for number, layer in enumerate(LAYERS) for name in layer if within(module, (name,))]
    return max(fitting)[1] if fitting else None


def against_direction(each):
    return within(each.imported, ("mountd",)) and layer(each.imported) < layer(each.importer)


def out_of_place(each):
    library = each.imported.partition(".")[0]
    return library in LIBRARIES and not within(each.importer, LIBRARIES[library])


def breaches(rule):
    return [str(each) for each in IMPORTS if rule(each) and (each.importer, each.imported) not in EXCEPTIONS]


def test_every_module_has_a_layer_of_its_own():
    """A new module is put somewhere on purpose: only the package itself counts as `mountd`."""
    named = [name for layer in LAYERS for name in layer if name != "mountd"]
    assert [module for module in MODULES if module != "mountd" and not within(module, named)] == []


def test_every_name_in_the_tables_is_a_module():
    """Otherwise a rule about a module that was renamed would hold for nothing."""
    named = {name for layer in LAYERS for name in layer} | {name for places in LIBRARIES.values() for name in places}
    assert named - MODULES.keys() == set()


def test_imports_point_one_way():
    """From the command line down to the settings; imports for type checkers count as well."""
    assert breaches(against_direction) == []


def test_libraries_are_imported_where_their_job_is():
    """So that exchanging one, or testing a layer without it, stays possible."""
    assert breaches(out_of_place) == []


def test_exceptions_are_still_needed():
    """One whose reason is gone would let the next breach through."""
    used = {(each.importer, each.imported) for each in IMPORTS if against_direction(each) or out_of_place(each)}
    assert EXCEPTIONS.keys() - used == set()


@pytest.mark.parametrize("module", ["mountd", "mountd.mounts"])
def test_the_python_api_imports_what_is_heavy_only_when_it_is_called(module):
    """At import, nothing but the lowest layer; daemon, stores and registry wait for the call that needs them."""
    at_once = {each.imported for each in IMPORTS if each.importer == module and each.at_once}
    assert [name for name in at_once if within(name, ("mountd",)) and layer(name) != len(LAYERS) - 1] == []


def test_only_config_reads_the_environment():
    """Whoever wants to know what a variable does has one module to read."""
    found = [
        f"{module}, line {node.lineno}: {ast.unparse(node)}"
        for module, tree in TREES.items()
        if module != "mountd.config"
        for node in ast.walk(tree)
        if _is_environment(node)
    ]
    assert found == []


ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}


def _is_environment(node):
    if isinstance(node, ast.Attribute):
        return node.attr in ENVIRONMENT and isinstance(node.value, ast.Name) and node.value.id == "os"
    return isinstance(node, ast.ImportFrom) and node.module == "os" and any(a.name in ENVIRONMENT for a in node.names)


def test_import_mountd_in_a_fresh_interpreter_is_cheap():
    """What the reading of imports cannot see: what comes along through others."""
    script = "import sys, mountd; print(sorted({'trio', 'pyfuse3', 'fsspec', 'click', 'asyncio'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("importer", "source", "expected"),
    [
        ("mountd.vfs.files", "import mountd.fuse.session", [True]),
        ("mountd.vfs.files", "from mountd.fuse import session", [True]),
        ("mountd.vfs.files", "if TYPE_CHECKING:\n    from mountd.daemon import service", [True]),
        ("mountd.vfs.files", "def f():\n    from ..fuse import session", [True]),
        ("mountd.vfs.files", "from .nodes import File", [False]),
        ("mountd.vfs", "from .nodes import File", [False]),
        ("mountd.vfs.files", "from mountd import units, active_store", [False, True]),
        ("mountd.cli", "from mountd.vfs import files", [False]),
    ],
)
def test_the_reading_of_imports_sees_them_in_every_form(importer, source, expected):
    """A check that reads code must itself be seen to find something."""
    imports = [
        Import(importer, name, node.lineno, at_once)
        for node, at_once in statements(ast.parse(source))
        for name in names(node, importer)
    ]
    assert [against_direction(each) for each in imports] == expected
