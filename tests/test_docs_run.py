"""Every command that the documentation shows is run here, page by page, in the order of the page, on real mounts.

A reader's machine is a host of tests/harness.py; their buckets are buckets of that very name on real servers, which the
variables of each cloud's own tools lead to. So commands run as they are written, but for names in `_stand_ins`.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import PAGES, ROOT, typed
from tests.servers import web_server

# What cannot run here, by how it begins, and why.
NOT_RUN = {
    "make": "installs on the machine, or runs all tests, this one too",
    ".venv/bin/pre-commit": "changes the checkout's git hooks",
    "pip install": "changes the environment that the tests run in; tests/test_packaging.py installs mountd",
    "pipx install": "as pip",
    "python3 -m venv /opt/mountd": "writes outside of the home folder, as root",
    "ln -s /opt/mountd": "as above; tests/systemd does it in a namespace",
    "install -Dm644 systemd/system/": "as above",
    "systemctl": "there is no systemd to talk to; tests/systemd runs the units under one of its own",
    "loginctl": "as systemctl",
    "mount -t mountd": "takes the links in /sbin; tests/systemd/test_fstab.py does it in a namespace",
    "umount": "as mount",
    "gcloud": "there is no Google Cloud here, nor its command line",
    "az ": "as gcloud",
    "docker": "there is no Docker here; tests/systemd/test_container.py reads its files",
    "zenml": "takes ten seconds for each command; tests/integrations/test_zenml.py does the same by way of ZenML",
    "mountd mount --zenml": "as zenml",
    "python docs/examples/zenml_pipeline.py": "as zenml",
    "pytest tests/objects/test_contract.py": "tests/stores/test_flavor_package.py runs it",
}
# What may run here: nothing that a page shows reaches beyond the host's folder, see also `elsewhere`.
RUN = ("mountd ", "echo ", "cat ", "ls ", "install ", "eval ", "(umask ", "python cli.py ")
# What goes on until Ctrl-C, which comes after some seconds.
ENDLESS = ("mountd dashboard",)
# What prints what is so on one machine at one time only: what a page shows below it is an example.
EXAMPLES = ("mountd doctor", "mountd explain", "mountd dashboard")

COMMANDS = {str(page.relative_to(ROOT)): typed(page) for page in PAGES}
PAGES_RUN = [page for page, found in COMMANDS.items() if any(not each.begins(*NOT_RUN) for each in found)]
PROD = "s3://my-bucket/artifacts"
MARK = "--- documented command "


@pytest.fixture
def machine(host, request):
    """Return what makes the host into the machine of a reader of some commands."""

    def prepare(commands):
        text = "\n".join(each.text for each in commands)
        has_prod = re.search(r"\bprod\b", text) and "store register prod " not in text
        if has_prod:
            text += f"\n{PROD}"
        host.environment |= {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BROWSER": "true",
            "DAV_PASSWORD": "of nobody",
            "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }
        for folder in ("home", "srv"):
            (host.folder / folder).mkdir()
        for scheme, fixture, make in CLOUDS:
            names = set(re.findall(rf"\b{scheme}://([\w-]+)", text))
            if names:
                host.environment |= make(request.getfixturevalue(fixture), names)
        if "shelf://" in text:
            site = request.getfixturevalue("installed_flavor")
            host.environment["PYTHONPATH"] = f"{site}:{host.environment['PYTHONPATH']}"
        if has_prod:
            _have_prod(host)
        return _stand_ins(host, text, request.getfixturevalue)

    return prepare


def _s3(server, names):
    for name in names - {each["Name"] for each in server.client().list_buckets()["Buckets"]}:
        server.client().create_bucket(Bucket=name)
    keys = {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret, "LAB_SECRET": server.secret}
    return keys | {"AWS_ENDPOINT_URL": server.endpoint, "AWS_DEFAULT_REGION": "us-east-1"}


def _gcs(server, names):
    there = json.loads(server.request("GET", "/storage/v1/b?project=test")).get("items", ())
    for name in names - {each["name"] for each in there}:
        body = json.dumps({"name": name}).encode()
        server.request("POST", "/storage/v1/b?project=test", body, {"Content-Type": "application/json"})
    return {"STORAGE_EMULATOR_HOST": server.endpoint}


def _azure(server, names):
    with server.client() as client:
        for name in names - {each.name for each in client.list_containers()}:
            client.create_container(name)
    return {"AZURE_STORAGE_CONNECTION_STRING": server.connection_string}


CLOUDS = (("s3", "s3_server", _s3), ("gs", "gcs_server", _gcs), ("abfs", "azure_server", _azure))


def _have_prod(host):
    """Mount the store `prod`, which most pages take for granted, with the files that they name."""
    host.run("store", "register", "prod", "--path", PROD)
    host.run("mount", "prod")
    root = host.folder / "home/mountd/prod"
    for name in ("datasets/train/0", "datasets/train/1", "models/bert.pt"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"some bytes")


def _stand_ins(host, text, fixture):
    """Return what is here in place of what a reader has: text by text."""
    found = {
        "/home/me": f"{host.folder}/home",
        "/srv": f"{host.folder}/srv",
        "/var/lib/node_exporter": f"{host.folder}",
    }
    if "http://minio:9000" in text:
        found["http://minio:9000"] = fixture("s3_server").endpoint
        found["key=lab"] = f"key={fixture('s3_server').key}"
    if "https://dav.example.com" in text:
        found["https://dav.example.com"] = fixture("webdav_server").endpoint
    if "https://data.example.com" in text:
        found["https://data.example.com"] = fixture("web_folder")
    return found


@pytest.fixture
def web_folder(tmp_path):
    """The URL of a web server with one file in a folder."""
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/iris.csv").write_text("5.1,3.5\n")
    with web_server(tmp_path) as url:
        yield url


def replaced(text, stand_ins):
    for there, here in stand_ins.items():
        text = text.replace(there, here)
    return text


def elsewhere(command, folder):
    """Return the places that a command names and that are not in the host's folder: nothing may be changed there."""
    named = re.findall(r"(?<![\w.~:/$}])/[\w.][^\s;'\"]*", re.sub(r"\s# .*", "", command))
    return [each for each in named if not Path(os.path.normpath(each)).is_relative_to(folder) and each != "/dev/null"]


def run(commands, host):
    """Type commands into one shell until one fails, and return what each printed, and the code of the last one."""
    script = []
    for number, each in enumerate(commands):
        endless = "timeout --preserve-status --signal=INT 5 " if each.begins(*ENDLESS) else ""
        ends = "[ $code = 0 -o $code = 130 ]" if endless else "[ $code = 0 ]"
        script += [f"echo; echo '{MARK}{number}'", f"{endless}{each.text}", "code=$?", f"{ends} || exit $code"]
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", "\n".join(script)],
        cwd=ROOT,
        env=host.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=170,
        check=False,
    )
    parts = re.split(rf"^{MARK}\d+\n", done.stdout, flags=re.MULTILINE)[1:]
    return parts, done.returncode


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", PAGES_RUN)
def test_what_a_page_tells_people_to_type_works(page, machine, host):
    """Each command succeeds after those above it on the page, and prints what the page shows."""
    commands = [each for each in COMMANDS[page] if not each.begins(*NOT_RUN)]
    stand_ins = machine(commands)
    commands = [
        type(each)(replaced(each.text, stand_ins), tuple(replaced(line, stand_ins) for line in each.shown))
        for each in commands
    ]
    assert [each.text for each in commands if not each.begins(*RUN) or elsewhere(each.text, host.folder)] == []
    printed, code = run(commands, host)
    assert code == 0, f"{page}: {commands[len(printed) - 1].text}\nends with {code}: {printed[-1]}{host.logs()}"
    for each, output in zip(commands, printed, strict=True):
        unseen = [] if each.begins(*EXAMPLES) else each.unseen(output)
        assert unseen == [], f"{page}: {each.text}\nprints something else: {output}"


def test_wrong_commands_and_wrong_output_would_be_found(host):
    """The test above can fail: a command that fails ends it, and what is not printed is named."""
    page = COMMANDS["README.md"]
    right, wrong = type(page[0])("echo 5 files", ("7 files",)), type(page[0])("mountd-is-not-called-so || false")
    printed, code = run([right, wrong, right], host)
    assert (len(printed), code) == (2, 1)
    assert right.unseen(printed[0]) == []
    assert right.unseen("5 folders") == ["7 files"]
    for command in (
        "ln -s /opt/mountd/bin/mountd x",
        "cp a /etc/passwd",
        "echo >/etc/x",
        f"rm {host.folder}/../x",
        "a --b=/c",
    ):
        assert elsewhere(command, host.folder), command
    assert elsewhere(f"cp ~/a {host.folder}/x/y s3://a/b http://c/d docs/e", host.folder) == []


def test_only_what_is_written_down_is_not_run():
    """Each exception is needed by a page, and none covers a command of mountd by accident."""
    found = [each for commands in COMMANDS.values() for each in commands]
    assert [words for words in NOT_RUN if not any(each.begins(words) for each in found)] == []
    assert len(PAGES_RUN) >= 10
    assert {each for each in NOT_RUN if each.startswith("mountd")} == {"mountd mount --zenml"}
