"""How Azure may read the blob that a block is taken from: unlike a copy, that has to be said with each request."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from azure.storage.blob import BlobSasPermissions, generate_blob_sas

if TYPE_CHECKING:
    from mountd.objects.interface import Version

# The service reads at once; the rest is for clocks that are not the service's.
_VALID = datetime.timedelta(hours=1)
_SCOPE = "https://storage.azure.com/.default"


async def source_of(blob: Any, version: Version) -> tuple[str, dict[str, Any]]:
    """Return the address of a blob and the arguments of `stage_block_from_url` that let it be read in one version.

    Runs on asyncio. With a shared access signature, or anonymously, the address says everything already.
    """
    # The client's own arguments have no place for this condition.
    options: dict[str, Any] = {"headers": {"x-ms-source-if-match": f'"{version}"'}}
    credential = blob.credential
    if getattr(credential, "account_key", None):
        signature = generate_blob_sas(
            credential.account_name,
            blob.container_name,
            blob.blob_name,
            account_key=credential.account_key,
            permission=BlobSasPermissions(read=True),
            expiry=datetime.datetime.now(datetime.UTC) + _VALID,
        )
        return f"{blob.url}?{signature}", options
    if hasattr(credential, "get_token"):
        token = await credential.get_token(_SCOPE)
        options["source_authorization"] = f"Bearer {token.token}"
    return blob.url, options
