"""What a daemon that was killed has left in the store is removed by the next mount, and nothing of anybody else."""

import contextlib
import os
import time

MiB = 1024 * 1024


def uploads(store):
    """Return keys and ids of the multipart uploads under way in a bucket of S3."""
    found = store.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", ())
    return {(each["Key"], each["UploadId"]) for each in found}


def parts(store):
    """Return the parts of the multipart uploads under way in a bucket of S3. A daemon notes an upload before these."""
    under_way = [store.client.list_parts(Bucket=store.bucket, Key=key, UploadId=id) for key, id in uploads(store)]
    return [part for each in under_way for part in each.get("Parts", ())]


def half_written(mount, begun):
    """Write most of a large file, wait until parts of it are in the store, and kill the daemon."""
    file = os.open(mount / "large", os.O_WRONLY | os.O_CREAT)
    for _ in range(30):
        os.write(file, os.urandom(MiB))
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # or the kernel would hold it back for some seconds
    deadline = time.monotonic() + 60
    while not begun():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    mount.kill()
    with contextlib.suppress(OSError):
        os.close(file)


def test_multipart_uploads_of_a_killed_daemon_are_aborted(host, s3_store):
    """The next mount aborts what its own daemon left; an upload of another client goes on. [uploads-abandoned]"""
    theirs = s3_store.client.create_multipart_upload(Bucket=s3_store.bucket, Key="theirs")["UploadId"]
    mount = host.mount(s3_store)
    half_written(mount, lambda: parts(s3_store))
    host.mount(s3_store)
    assert uploads(s3_store) == {("theirs", theirs)}
    assert s3_store.keys() == []


def test_parts_of_a_killed_daemon_are_deleted(host, gcs_store):
    """The parts of an upload, and those kept of an object that was complete; those of another mount stay.

    [uploads-abandoned]
    """
    gcs_store.put(".mountd-parts/of-another/00001", b"x")
    mount = host.mount(gcs_store)
    (mount / "complete").write_bytes(os.urandom(20 * MiB))
    count = len(gcs_store.keys())
    assert count > 2
    half_written(mount, lambda: len(gcs_store.keys()) > count)
    host.mount(gcs_store)
    assert gcs_store.keys() == [".mountd-parts/of-another/00001", "complete"]
