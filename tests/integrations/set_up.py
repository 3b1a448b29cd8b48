"""Have ZenML keep artifacts by the flavor `mountd` at the URI in argv[1], in its active stack."""

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
