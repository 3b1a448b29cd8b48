"""Have ZenML know the artifact stores of stdin's first line, then say what it reads where, line by line, as JSON.

The first line: `secrets`, values by name; `stores`, which are `flavor`, `path`, and what there is of
`authentication_secret`, `secrets`, `environment` and `connector`, by name. Each further one is `[STORE, NAME, TEXT]`:
ZenML's own store writes TEXT to `from-zenml` and says what NAME holds.
"""

import json
import sys

from zenml.client import Client
from zenml.enums import StackComponentType
from zenml.models import ComponentUpdate, ServiceConnectorRequest
from zenml.stack import StackComponent

STORES = StackComponentType.ARTIFACT_STORE


def add(client, name, *, flavor, connector=None, secrets=(), environment=None, **configuration):
    """Register a store as `zenml artifact-store register` does, and connect it."""
    made = client.create_stack_component(
        name=name,
        flavor=flavor,
        component_type=STORES,
        configuration=configuration,
        secrets=list(secrets),
        environment=environment,
    )
    if connector is not None:
        # The client itself verifies connectors with libraries that only ZenML's integrations bring.
        request = ServiceConnectorRequest(name=f"{name}-connector", supports_instances=True, **connector)
        connected = client.zen_store.create_service_connector(request)
        client.zen_store.update_stack_component(made.id, ComponentUpdate(connector=connected.id))


def exchange(client, name, entry, text):
    """Write by ZenML's own store, and return what it reads."""
    store = StackComponent.from_model(client.get_stack_component(STORES, name))
    with store.open(f"{store.path}/from-zenml", "w") as file:
        file.write(text)
    with store.open(f"{store.path}/{entry}", "r") as file:
        return file.read()


def main():
    """Say `answer null` once the stores are there, and after that what is read; ZenML prints lines of its own."""
    client = Client()
    wanted = json.loads(sys.stdin.readline())
    for name, values in wanted["secrets"].items():
        client.create_secret(name, values)
    for name, store in wanted["stores"].items():
        add(client, name, **store)
    print("answer null", flush=True)
    for line in sys.stdin:
        print("answer", json.dumps(exchange(client, *json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
