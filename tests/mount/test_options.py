"""Options of a store reach the service through a mount."""

import json


def test_encryption_and_storage_class_of_new_files(host, s3_store):
    """What `s3_additional_kwargs` names holds for new files, whole and in parts. [s3-options]"""
    added = {"ServerSideEncryption": "AES256", "StorageClass": "STANDARD_IA"}
    s3_store.options |= {"s3_additional_kwargs": json.dumps(added), "requester_pays": "true"}
    mount = host.mount(s3_store)
    (mount / "small").write_bytes(b"x")
    (mount / "large").write_bytes(b"x" * (20 * 1024 * 1024))
    (mount / "small").rename(mount / "renamed")
    for name in ("large", "renamed"):
        found = s3_store.described(name)
        assert {option: found[option] for option in added} == added
