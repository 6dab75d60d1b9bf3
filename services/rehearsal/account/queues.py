"""SQS where ministack is laxer than AWS. Its queues and messages are kept; events arrive on the scheduler's thread, so
what changes a queue's list of messages takes one lock.
"""

import functools
import re
import threading
from collections.abc import Callable

from account import clock, durations
from ministack.core.responses import get_account_id, get_region
from ministack.services import sqs

lock = threading.RLock()
MIXED = 0.2  # of receives from a standard queue, whose order is no promise
SHORT_POLL_MISSES = 0.25  # a short poll asks some of SQS's servers only: it may miss what is there
_HANDLE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
SETTABLE = {
    "ContentBasedDeduplication",
    "DeduplicationScope",
    "DelaySeconds",
    "FifoQueue",
    "FifoThroughputLimit",
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "Policy",
    "ReceiveMessageWaitTimeSeconds",
    "RedriveAllowPolicy",
    "RedrivePolicy",
    "SqsManagedSseEnabled",
    "VisibilityTimeout",
}
READABLE = SETTABLE | {
    "All",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesDelayed",
    "ApproximateNumberOfMessagesNotVisible",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
    "QueueArn",
}
_deleted: dict[tuple[str, str, str], float] = {}  # (account, region, name) -> until when the name is not free


def _known(names, allowed: set[str]) -> None:
    for name in names or ():
        if name not in allowed:
            raise sqs._Err("InvalidAttributeName", f"Unknown Attribute {name}.")


def _create(data: dict, url: str) -> dict:
    name, attributes = data.get("QueueName", ""), data.get("Attributes") or {}
    if not _NAME.fullmatch(name):
        text = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        raise sqs._Err("InvalidParameterValue", text)
    _known(attributes, SETTABLE)
    if name.endswith(".fifo") != (str(attributes.get("FifoQueue", "false")).lower() == "true"):
        text = "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores,"
        raise sqs._Err("InvalidParameterValue", f"{text} must end with .fifo suffix and be 1 to 80 in length.")
    if _deleted.get((get_account_id(), get_region(), name), 0) > clock.monotonic():
        text = "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        raise sqs._Err("QueueDeletedRecently", text)
    made = _acts["CreateQueue"](data, url)
    sqs._queues[made["QueueUrl"]]["attributes"].setdefault("SqsManagedSseEnabled", "true")
    return made


def _delete_queue(data: dict, url: str) -> dict:
    queue = sqs._get_q(data.get("QueueUrl", url), "sqs:DeleteQueue")
    _, _, _, region, account, name = queue["attributes"]["QueueArn"].split(":")
    answer = _acts["DeleteQueue"](data, url)
    _deleted[(account, region, name)] = clock.monotonic() + durations.seconds("sqs.deleted")
    return answer


def _get_attributes(data: dict, url: str) -> dict:
    _known(data.get("AttributeNames"), READABLE)
    if not data.get("AttributeNames"):
        sqs._get_q(data.get("QueueUrl", url), "sqs:GetQueueAttributes")
        return {}
    return _acts["GetQueueAttributes"](data, url)


def _set_attributes(data: dict, url: str) -> dict:
    _known(data.get("Attributes"), SETTABLE - {"FifoQueue"})
    return _acts["SetQueueAttributes"](data, url)


def _within(data: dict, name: str, most: int) -> None:
    value = data.get(name)
    if value is not None and not 0 <= int(value) <= most:
        text = f"Value {value} for parameter {name} is invalid. Reason: Must be >= 0 and <= {most}, if provided."
        raise sqs._Err("InvalidParameterValue", text)


async def _receive(data: dict, url: str) -> dict:
    _within(data, "WaitTimeSeconds", 20)
    _within(data, "VisibilityTimeout", 43200)
    queue = sqs._get_q(data.get("QueueUrl", url), "sqs:ReceiveMessage")
    wait = data.get("WaitTimeSeconds")
    wait = int(queue["attributes"].get("ReceiveMessageWaitTimeSeconds", 0) if wait is None else wait)
    if wait == 0 and not queue["is_fifo"] and durations.random("sqs.short").random() < SHORT_POLL_MISSES:
        return {}
    return await _acts["ReceiveMessage"](data, url)


def _well_formed(handle: str) -> None:
    if not _HANDLE.fullmatch(handle or ""):
        raise sqs._Err("ReceiptHandleIsInvalid", f'The input receipt handle "{handle}" is not a valid receipt handle.')


def _delete(data: dict, url: str) -> dict:
    """A handle that a later receive has replaced, or of a message that is gone, succeeds and does nothing:
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
    """
    _well_formed(data.get("ReceiptHandle", ""))
    try:
        return _acts["DeleteMessage"](data, url)
    except sqs._Err as error:
        if error.code != "ReceiptHandleIsInvalid":
            raise
        return {}


def _delete_batch(data: dict, url: str) -> dict:
    answer = _acts["DeleteMessageBatch"](data, url)
    handles = {one.get("Id"): one.get("ReceiptHandle", "") for one in data.get("Entries", [])}
    gone = [
        one
        for one in answer.get("Failed", [])
        if one["Code"] == "ReceiptHandleIsInvalid" and _HANDLE.fullmatch(handles[one["Id"]])
    ]
    failed = [one for one in answer.get("Failed", []) if one not in gone]
    return {**answer, "Successful": answer["Successful"] + [{"Id": one["Id"]} for one in gone], "Failed": failed}


def _in_flight(queue: dict, handle: str) -> None:
    _well_formed(handle)
    message = next((one for one in queue["messages"] if one.get("receipt_handle") == handle), None)
    if message is None:
        text = f"Value {handle} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not"
        raise sqs._Err("InvalidParameterValue", f"{text} available for visibility timeout change.")
    if message["visible_at"] <= clock.now():
        raise sqs._Err("MessageNotInflight", "The specified message isn't in flight.")


def _change(data: dict, url: str) -> dict:
    queue = sqs._get_q(data.get("QueueUrl", url), "sqs:ChangeMessageVisibility")
    _within(data, "VisibilityTimeout", 43200)
    _in_flight(queue, data.get("ReceiptHandle", ""))
    return _acts["ChangeMessageVisibility"](data, url)


STRICTER: dict[str, Callable] = {
    "ChangeMessageVisibility": _change,
    "CreateQueue": _create,
    "DeleteMessage": _delete,
    "DeleteMessageBatch": _delete_batch,
    "DeleteQueue": _delete_queue,
    "GetQueueAttributes": _get_attributes,
    "ReceiveMessage": _receive,
    "SetQueueAttributes": _set_attributes,
}
_acts: dict[str, Callable] = {}


def _locked(inner):
    @functools.wraps(inner)
    def call(*given):
        with lock:
            return inner(*given)

    return call


def _mixing(collect):
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/standard-queues.html"""

    @functools.wraps(collect)
    def call(queue: dict, *given):
        chance = durations.random("sqs.order")
        if not queue["is_fifo"] and chance.random() < MIXED:
            chance.shuffle(queue["messages"])
        return collect(queue, *given)

    return call


def install() -> None:
    sqs._collect_msgs = _mixing(sqs._collect_msgs)
    _acts.update(sqs._HANDLERS)
    for name in _acts:
        act = STRICTER.get(name, _acts[name])
        # Receiving waits: its steps are locked one by one.
        sqs._HANDLERS[name] = act if name == "ReceiveMessage" else _locked(act)
    for name in ("_collect_msgs", "_dlq_sweep", "_expire_retained"):
        setattr(sqs, name, _locked(getattr(sqs, name)))


def reset() -> None:
    _deleted.clear()


def stop() -> None:
    pass
