"""CloudWatch Logs as it is read: what containers write arrives in batches, what is older than the group's retention has
gone, and FilterLogEvents answers in pages that may be short, or empty, although more follows.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

import json
import re
import threading
from collections.abc import Iterator

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import cloudwatch_logs

from account import clock, durations

PAGE_BYTES = 1024 * 1024
EVENT_BYTES = 26  # each event counts for so many more, as API_PutLogEvents.html says of a batch
SCANNED = 2000  # events looked at for one page: ours, AWS looks for some time
SHORT = 0.2  # how often a page ends early
TOKENS = 10_000

_Key = tuple[int, int, str]
_tokens: dict[str, tuple[tuple, float, _Key | None]] = {}  # (of which question, until when, after which event)
_batches: dict[tuple[str, str, str, str], float] = {}  # when what a stream's container writes now arrives
_lock = threading.Lock()


# What containers write --------------------------------------------------------------------------------------


def write(group: str, stream: str, line: str) -> None:
    """One line of a container: the awslogs driver sends what it has every few seconds."""
    events = [{"timestamp": int(clock.now() * 1000), "message": line}]
    given = {"logGroupName": group, "logStreamName": stream, "logEvents": events}
    if cloudwatch_logs._put_log_events(given)[0] >= 400:
        return  # the group was deleted: the line is lost
    key = (get_account_id(), get_region(), group, stream)
    with _lock:
        if _batches.get(key, 0) <= clock.now():
            _batches[key] = clock.now() + durations.seconds("logs.batch")
        for event in _stream(group, stream)[-1:]:  # none when the group was deleted just now
            event["ingestionTime"] = int(_batches[key] * 1000)


def flush(group: str, stream: str) -> None:
    """Its container has ended: what is left arrives."""
    if _batches.pop((get_account_id(), get_region(), group, stream), 0) <= clock.now():
        return
    now = int(clock.now() * 1000)
    for event in reversed(_stream(group, stream)):
        if event["ingestionTime"] <= now:
            break
        event["ingestionTime"] = now


def _stream(group: str, stream: str) -> list[dict]:
    streams = (cloudwatch_logs._log_groups.get(group) or {}).get("streams", {})
    return (streams.get(stream) or {}).get("events", [])


# What is read -----------------------------------------------------------------------------------------------


def _shown(group: dict, event: dict) -> bool:
    """Arrived, and not older than the group keeps.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/Working-with-log-groups-and-streams.html
    """
    days, now = group.get("retentionInDays"), clock.now() * 1000
    return event["ingestionTime"] <= now and (not days or event["timestamp"] > now - days * 86_400_000)


def _key(event: dict) -> _Key:
    return event["timestamp"], event["ingestionTime"], event["eventId"]


def _events(group: dict, data: dict) -> Iterator[dict]:
    wanted, prefix = data.get("logStreamNames"), data.get("logStreamNamePrefix", "")
    start, end = data.get("startTime", 0), data.get("endTime", float("inf"))
    with cloudwatch_logs._log_events_lock:
        streams = [(name, list(one["events"])) for name, one in group["streams"].items()]
    for name, events in streams:
        if name in wanted if wanted else name.startswith(prefix):
            for event in events:
                if start <= event["timestamp"] <= end and _shown(group, event):
                    yield {**event, "logStreamName": name}


def _filter(data: dict) -> tuple:
    name = cloudwatch_logs._resolve_log_group_name(data)
    group = cloudwatch_logs._log_groups.get(name)
    if group is None:
        return error_response_json("ResourceNotFoundException", "The specified log group does not exist.", 400)
    if any(stream not in group["streams"] for stream in data.get("logStreamNames") or ()):
        return error_response_json("ResourceNotFoundException", "The specified log stream does not exist.", 400)
    question = {each: value for each, value in data.items() if each not in ("nextToken", "limit")}
    of = (get_account_id(), get_region(), json.dumps(question, sort_keys=True))
    rows = sorted(_events(group, data), key=_key, reverse=data.get("startFromHead") is False)
    token, after = data.get("nextToken"), None
    if token:
        known = _tokens.get(token)
        if known is None or known[0] != of or known[1] <= clock.now():
            return error_response_json("InvalidParameterException", "The specified nextToken is invalid.", 400)
        after = known[2]
    if after is not None:
        rows = [row for row in rows if (_key(row) < after if data.get("startFromHead") is False else _key(row) > after)]
    chance = durations.random("logs.pages")
    limit = data.get("limit", 10_000)
    scanned = min(SCANNED, len(rows))
    if rows and chance.random() < SHORT:
        scanned = chance.choice((0, chance.randrange(min(limit, len(rows)))))
    pattern = re.compile((data.get("filterPattern") or "%%")[1:-1])
    size, page, looked = 0, [], 0
    for row in rows[:scanned]:
        size += len(row["message"].encode()) + EVENT_BYTES
        if len(page) == limit or (page and size > PAGE_BYTES):
            break
        looked += 1
        if pattern.search(row["message"]):
            page.append(row)
    answer = {"events": page, "searchedLogStreams": []}
    if looked < len(rows):
        answer["nextToken"] = f"{chance.getrandbits(320):080x}"
        until = clock.now() + durations.kept("token.logs")
        _tokens[answer["nextToken"]] = (of, until, _key(rows[looked - 1]) if looked else after)
        if len(_tokens) > TOKENS:
            del _tokens[next(iter(_tokens))]
    return json_response(answer)


def install() -> None:
    inner = cloudwatch_logs._get_log_events

    def get_log_events(data: dict) -> tuple:
        status, headers, body = inner(data)
        if status >= 400:
            return status, headers, body
        group = cloudwatch_logs._log_groups[cloudwatch_logs._resolve_log_group_name(data)]
        answer = json.loads(body)
        answer["events"] = [event for event in answer["events"] if _shown(group, event)]
        return json_response(answer)

    cloudwatch_logs._get_log_events = get_log_events
    cloudwatch_logs._filter_log_events = _filter


def reset() -> None:
    _tokens.clear()
    _batches.clear()


def stop() -> None:
    pass
