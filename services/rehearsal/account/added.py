"""Services that ministack lacks, entered into its tables: found by their target's prefix, host or credential scope, and
authorised like its own.
"""

import sys
import types
from collections.abc import Callable

import ministack.services as services
from ministack import app
from ministack.core import iam_actions, router


def add(service: str, target: str, handle_request: Callable, reset: Callable[[], None]) -> None:
    """`service` is IAM's prefix and the endpoint's name; `target` begins its X-Amz-Target."""
    name = service.replace("-", "_")
    module = types.ModuleType(f"ministack.services.{name}")
    vars(module).update(handle_request=handle_request, reset=reset)
    sys.modules[module.__name__] = module
    setattr(services, name, module)
    app.SERVICE_REGISTRY[service] = {"module": name}
    app.SERVICE_HANDLERS[service] = handle_request
    router.SERVICE_PATTERNS[service] = {
        "target_prefixes": [target],
        "host_patterns": [rf"{service}\."],
        "credential_scope": service,
    }
    iam_actions.SERVICE_TO_IAM_NAMESPACE[service] = service
