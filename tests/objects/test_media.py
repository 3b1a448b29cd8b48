"""New objects get the content type that their name tells, as an independent client sees it, and copies keep it."""

import json

import pytest

from mountd.config import MountSettings
from mountd.objects.interface import Key
from mountd.objects.media import content_type
from mountd.objects.opening import open_store

SETTINGS = MountSettings.merge({"request_deadline": 20, "retry_budget": 5})
NAMES = {
    "report.html": "text/html",
    "data.parquet": "application/vnd.apache.parquet",
    "model.bin": "application/octet-stream",
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [*NAMES.items(), ("a/b.csv", "text/csv"), ("x.tar.gz", "application/gzip"), ("README", "application/octet-stream")],
)
def test_the_name_tells_the_type(name, kind):
    """The same everywhere, whatever the machine's own tables say."""
    assert content_type(Key(name)) == kind


def type_of(request, kind, config, key):
    """Return an object's content type, asked past everything that mountd uses."""
    name = config.root.rpartition("/")[2]
    if kind == "gcs":
        server = request.getfixturevalue("gcs_server")
        return json.loads(server.request("GET", f"/storage/v1/b/{name}/o/{key}"))["contentType"]
    if kind == "azure":
        with request.getfixturevalue("azure_server").client() as client:
            return client.get_blob_client(name, key).get_blob_properties().content_settings.content_type
    return request.getfixturevalue("s3_server").client().head_object(Bucket=name, Key=key)["ContentType"]


@pytest.mark.parametrize("kind", ["s3", "gcs", "azure"])
async def test_objects_have_the_type_of_their_name(request, config_of, tmp_path, kind):
    """Put, uploaded in parts, and copied."""
    config = config_of(kind)
    async with open_store(config, SETTINGS, data=tmp_path) as opened:
        await opened.store.check()
        for name, expected in NAMES.items():
            await opened.store.put(Key(name), b"bytes")
            assert type_of(request, kind, config, name) == expected
        upload = await opened.store.open_upload(Key("large.html"))
        await upload.put_part(1, 0, b"bytes")
        made = await upload.complete([1])
        assert type_of(request, kind, config, "large.html") == "text/html"
        await opened.store.copy(made, Key("copy"))
        assert type_of(request, kind, config, "copy") == "text/html"
