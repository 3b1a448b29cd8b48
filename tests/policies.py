"""The AWS policy that docs/flavors/s3.md shows: tests give it to accounts, so that it is known to be enough."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def policy_for(bucket, *statements, prefix="team/a/"):
    """Return the AWS policy of docs/flavors/s3.md, for a bucket, with the statements named alone or all of them.

    `prefix`: what takes the place of the one in the policy; empty for the whole bucket.
    """
    page = (ROOT / "docs/flavors/s3.md").read_text()
    (text,) = re.findall(r"```json\n(\{\n  \"Version\".*?)```", page, re.DOTALL)
    policy = json.loads(text.replace("my-bucket", bucket).replace("team/a/", prefix))
    if not prefix:
        del policy["Statement"][0]["Condition"]
    policy["Statement"] = [each for each in policy["Statement"] if not statements or each["Sid"] in statements]
    return policy
