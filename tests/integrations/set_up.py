"""Have ZenML keep artifacts by the flavor `mountd` at the URI in argv[1], in its active stack.

Beside it there are a store in the folder argv[2], and two of ZenML's own flavor `s3`: with secrets in its options, and
with one that it names.
"""

import sys

from zenml.client import Client
from zenml.enums import StackComponentType

client = Client()
client.create_stack_component(
    name="prod",
    flavor="mountd",
    component_type=StackComponentType.ARTIFACT_STORE,
    configuration={"path": sys.argv[1]},
)
client.create_stack(
    name="prod",
    components={StackComponentType.ARTIFACT_STORE: "prod", StackComponentType.ORCHESTRATOR: "default"},
)
client.activate_stack("prod")
client.create_stack_component(
    name="lab store",
    flavor="local",
    component_type=StackComponentType.ARTIFACT_STORE,
    configuration={"path": sys.argv[2]},
)
client.create_stack_component(
    name="literal",
    flavor="s3",
    component_type=StackComponentType.ARTIFACT_STORE,
    configuration={
        "path": "s3://lab/artifacts",
        "key": "hunter2-key",
        "secret": "hunter2-secret",
        "client_kwargs": {"endpoint_url": "http://lab:9000", "aws_secret_access_key": "hunter2-inner"},
        "config_kwargs": {
            "proxies": {"http": "{{proxy.address}}"},
            "s3": {"addressing_style": "path"},
            "user_agent": "file:x",
        },
    },
)
client.create_secret("keys", {"aws_access_key_id": "hunter2-key", "aws_secret_access_key": "hunter2-secret"})
client.create_stack_component(
    name="secret",
    flavor="s3",
    component_type=StackComponentType.ARTIFACT_STORE,
    configuration={"path": "s3://lab/secret", "authentication_secret": "keys"},
)
