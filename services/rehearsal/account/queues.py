"""SQS where ministack is laxer than AWS. Its queues are kept; events arrive on the scheduler's thread, so that what
changes a queue's list of messages takes one lock.
"""

import functools
import threading

from ministack.services import sqs

lock = threading.RLock()


def _locked(inner):
    @functools.wraps(inner)
    def call(*given):
        with lock:
            return inner(*given)

    return call


def install() -> None:
    for name, act in sqs._HANDLERS.items():
        if name != "ReceiveMessage":  # waits; its steps are locked each
            sqs._HANDLERS[name] = _locked(act)
    for name in ("_collect_msgs", "_dlq_sweep", "_expire_retained"):
        setattr(sqs, name, _locked(getattr(sqs, name)))


def reset() -> None:
    pass


def stop() -> None:
    pass
