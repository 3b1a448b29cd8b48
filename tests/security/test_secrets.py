"""Secrets are nowhere but where the user keeps them, whatever goes wrong."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mountd.daemon import logs
from mountd.failures import FailureLog
from mountd.redaction import without_secrets
from tests.harness import mounts_below

WRONG = "wr0ng/Secret+Value123456789012345678901=="


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("GET https://acc.blob.core.windows.net/c/k?se=2030&sp=r&sig=SECRETa%2Bb%3D&sv=1", "sv=1"),
        ("https://b.s3.amazonaws.com/k?X-Amz-Credential=SECRET/2030/s3&X-Amz-Signature=SECRET&x=1", "x=1"),
        ("https://b/k?X-Amz-Security-Token=SECRET%2F&AWSAccessKeyId=SECRET&Signature=SECRET", "https://b/k"),
        ("Authorization: Bearer ya29.SECRET-x_y", "Authorization"),
        ("{'Authorization': 'AWS4-HMAC-SHA256 Credential=SECRET/x, SignedHeaders=host, Signature=SECRET'}", "host"),
        ("SharedKey account:SECRET=", "SharedKey"),
        ("DefaultEndpointsProtocol=https;AccountName=a;AccountKey=SECRET==;EndpointSuffix=core", "EndpointSuffix=core"),
        ("cannot reach http://user:SECRET@proxy:3128/", "proxy:3128"),
        ("https://storage/upload?uploadType=resumable&upload_id=SECRET", "resumable"),
        ("refused: token given", "refused: token given"),
        ("a Basic income and a Bearer of bad news", "a Basic income and a Bearer of bad news"),
    ],
)
def test_messages_are_shown_without_what_opens_a_store(text, kept):
    """Addresses that are signed, headers, connection strings, passwords; the rest stays readable."""
    shown = without_secrets(text)
    assert "SECRET" not in shown
    assert kept in shown
    assert without_secrets(shown) == shown


def test_known_values_are_hidden_wherever_they_are():
    """What a library quotes of what it was given."""
    assert without_secrets(f"invalid key '{WRONG}'!", [WRONG, ""]) == "invalid key '********'!"


def test_logs_and_status_hide_signatures_of_tracebacks_too(tmp_path):
    """In the log file, and in what `mountd status` shows of failures."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers.clear()
    try:
        logs.to_file(tmp_path / "log", debug=False)
        try:
            raise ValueError("https://x/?sig=SECRET1")
        except ValueError:
            logging.getLogger("mountd").exception("failed at https://x/?sig=SECRET2")
        failures = FailureLog()
        failures.add("https://x/?sig=SECRET3")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers[:] = before
        root.setLevel(level)
    written = (tmp_path / "log").read_text()
    assert written.count("sig=********") == 4  # the traceback shows the line of the program, too
    assert "SECRET" not in written + failures.recent()[0].message


def everything(host, *, but=()):
    """Return the bytes of all files that a host has, but for those named."""
    files = (path for path in host.folder.rglob("*") if path.is_file() and path not in but)
    return b"\0".join(path.read_bytes() for path in files)


def said_of(*finished):
    return "".join(done.stdout + done.stderr for done in finished)


@pytest.mark.parametrize("way", ["env", "file"])
def test_a_mount_that_works_keeps_its_secret(host, s3_store, way):
    """Not in the log at its most talkative, status, records, journal, process list; others cannot see the environment.

    [no-secrets]
    """
    secret, store = s3_store.server.secret, s3_store
    kept = host.folder / "secret"
    if way == "file":
        kept.write_text(secret + "\n")
        kept.chmod(0o600)
        store.options = store.options | {"secret": f"file:{kept}"}
        store.environment = {}
    mount = host.mount(store, "--debug")
    (mount / "a").write_text("x" * 1000)
    with pytest.raises(OSError):
        (mount / "b" / "c").read_text()
    finished = [host.run("status", "--json"), host.run("store", "describe", "store", "--json"), host.run("sync")]
    assert secret not in said_of(*finished)
    assert secret.encode() not in everything(host, but=(kept,))
    assert b"Signature" not in everything(host)
    assert secret.encode() not in Path(f"/proc/{mount.pid}/cmdline").read_bytes()
    assert Path(f"/proc/{mount.pid}/environ").stat().st_mode & 0o077 == 0
    mount.unmount()
    assert secret.encode() not in everything(host, but=(kept,))


@pytest.mark.parametrize("kind", ["s3", "azure", "gcs"])
@pytest.mark.parametrize("foreground", [False, True])
def test_a_secret_that_is_refused_is_not_repeated(host, request, kind, foreground):
    """Neither in the error nor in the log, whatever the service or its library says of it."""
    store = request.getfixturevalue(f"{kind}_store")
    options = {
        "s3": store.options | {"secret": "env:WRONG_SECRET"},
        "azure": {"connection_string": "env:WRONG_SECRET"},
        "gcs": store.options | {"token": "env:WRONG_SECRET"},
    }[kind]
    wrong = f"AccountName=x;AccountKey={WRONG}" if kind == "azure" else WRONG
    host.environment |= store.environment | {"WRONG_SECRET": wrong}
    config = host.folder / "config" / "mountd" / "config.toml"
    pairs = [part for name, text in options.items() for part in ("--option", f"{name}={text}")]
    host.run("store", "register", "bad", "--path", store.root, *pairs)
    config.write_text(config.read_text() + '\n[mount]\nretry_budget = "1s"\nrequest_deadline = "5s"\n')
    extra = ["--foreground"] if foreground else []
    done = host.run("mount", "bad", host.folder / "mnt", "--debug", *extra, check=False)
    assert done.returncode != 0
    assert mounts_below(host.folder) == []
    assert WRONG not in said_of(done)
    assert WRONG.encode() not in everything(host)


def test_a_secret_that_a_library_quotes_is_hidden(host, folder):
    """A flavor's file system that puts what it was given into its error."""
    package = folder / "site"
    package.mkdir()
    (package / "quoting.py").write_text(
        "from fsspec.implementations.local import LocalFileSystem\n"
        "class Quoting(LocalFileSystem):\n"
        "    protocol = 'quoting'\n"
        "    def __init__(self, password=None, **kwargs):\n"
        "        raise ValueError(f'cannot log in with {password}')\n"
    )
    host.environment |= {"QUOTED": WRONG, "PYTHONPATH": f"{host.environment['PYTHONPATH']}:{package}"}
    script = (
        "import fsspec, sys; fsspec.register_implementation('quoting', 'quoting.Quoting')\n"
        "from mountd.cli import run; sys.exit(run(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", script]
    register = ["store", "register", "q", "-f", "fsspec", "--path", "quoting://x", "--option", "password=env:QUOTED"]
    subprocess.run([*command, *register], env=host.environment, check=True, timeout=60)
    mount = [*command, "mount", "q", str(host.folder / "mnt"), "--foreground"]
    done = subprocess.run(mount, env=host.environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "cannot log in with ********" in done.stderr) == (4, True), done.stderr
    assert WRONG.encode() not in everything(host)


def test_a_daemon_leaves_no_core_file(host, local_store):
    """Its memory has secrets: neither to a file nor to a program that collects them."""
    mount = host.mount(local_store)
    (line,) = [s for s in Path(f"/proc/{mount.pid}/limits").read_text().splitlines() if s.startswith("Max core")]
    assert int(line.split()[4]) <= 1
    assert int(Path(f"/proc/{mount.pid}/coredump_filter").read_text(), 16) == 0
    assert os.path.exists(mount.path)
