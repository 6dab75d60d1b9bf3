"""What is on the wire, by AWS's own service models (botocore ships them): a request's parameters with their types, an
answer's members, and either without what must not be kept.

Models are read when a service is first asked for (the largest, EC2's, takes 0.05 s), without their documentation.
"""

import base64
import gzip
import json
import re
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

MODELS = {  # IAM's prefix: botocore's name, where they differ
    "elasticloadbalancing": "elbv2",
    "servicequotas": "service-quotas",
    "tag": "resourcegroupstaggingapi",
}
HIDDEN = "HIDDEN_DUE_TO_SECURITY_REASONS"  # as CloudTrail writes it
# Members whose values are secrets or may carry one, though the models do not always say so. Lower case.
SECRET = {
    "authtoken",
    "clientsecret",
    "command",  # a password may be one of its words
    "credentials",
    "entrypoint",
    "input",  # what EventBridge gives to a target
    "inputtemplate",
    "masteruserpassword",
    "password",
    "secretaccesskey",
    "secretbinary",
    "secretstring",
    "sessiontoken",
}
# Environments: the names stay, the values go.
ENVIRONMENT = {"environment"}
# In maps, whose keys no model knows: `splunk-token` of a log driver.
SECRET_KEY = re.compile(r"(token|passw(or)?d|secret|credentials?|(access|api|license)[_-]?key)$", re.IGNORECASE)
_services: dict[str, Any] = {}
_lock = threading.Lock()


def _without_documentation(part: dict) -> dict:
    if isinstance(part.get("documentation"), str):  # a member of that name is no string
        del part["documentation"]
    return part


def service_model(service: str):
    """botocore's ServiceModel of an IAM prefix; None for a service that has none."""
    found = _services.get(service, False)
    if found is not False:
        return found
    with _lock:
        if service in _services:
            return _services[service]
        import botocore
        from botocore.model import ServiceModel

        name = MODELS.get(service, service)
        versions = sorted((Path(botocore.__file__).parent / "data" / name).glob("*/service-2.json.gz"))
        made = None
        if versions:
            text = gzip.decompress(versions[-1].read_bytes())
            made = ServiceModel(json.loads(text, object_hook=_without_documentation), name)
        _services[service] = made
        return made


def operation(service: str, action: str):
    """botocore's OperationModel; None when AWS has no such action."""
    model = service_model(service)
    if model is None or action not in model._service_description["operations"]:
        return None
    return model.operation_model(action)


def protocol(model, headers: dict[str, str]) -> str:
    """How this request is written: a service may take several."""
    kind = headers.get("content-type", "")
    if "cbor" in kind:
        return "smithy-rpc-v2-cbor"
    if "x-amz-target" in headers:
        return "json"
    own = model.service_model.metadata.get("protocol", "")
    return own if own in ("ec2", "query", "rest-json", "rest-xml") else "query"


class Malformed(Exception):
    """Nothing can be read out of the request."""


def read(model, headers: dict[str, str], body: bytes, query: dict) -> tuple[dict, list[str]]:
    """A request's parameters, typed, and the names among them that the model does not know. What has the wrong type
    stays as it was sent. Raises Malformed.
    """
    how = protocol(model, headers)
    if how == "json":
        try:
            sent = json.loads(body) if body.strip() else {}
        except ValueError:
            raise Malformed("the body is not JSON") from None
        if not isinstance(sent, dict):
            raise Malformed("the body is not a JSON object")
        unknown: list[str] = []
        return _from_json(model.input_shape, sent, "", unknown), unknown
    if how in ("query", "ec2"):
        flat = {name: value[0] if isinstance(value, list) else value for name, value in query.items()}
        form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
        flat |= {name: values[0] for name, values in form.items()}
        for name in ("Action", "Version"):
            flat.pop(name, None)
        flat = {name: value for name, value in flat.items() if not name.startswith(("X-Amz-", "AWSAccessKeyId"))}
        unknown = []
        shape = model.input_shape
        typed = _from_form(shape, _tree(flat), how == "ec2", "", unknown) if shape is not None else {}
        return (typed if isinstance(typed, dict) else {}), unknown
    if how in ("rest-json", "rest-xml"):
        return _from_rest(model, headers, body, query), []
    unknown = []
    return _from_json(model.input_shape, _from_cbor(body), "", unknown), unknown


def given(model, headers: dict[str, str], body: bytes, query: dict, path: str = "") -> dict:
    """A request's parameters, typed by the model; nothing when they cannot be read. `path` is where REST services have
    some of theirs.
    """
    try:
        found = read(model, headers, body, query)[0]
    except Malformed:
        return {}
    return {**_from_path(model, path), **found} if path else found


def _from_cbor(body: bytes) -> dict:
    from botocore import parsers

    if not body:
        return {}
    reader = parsers.create_parser("smithy-rpc-v2-cbor")
    try:
        found = reader.parse_data_item(reader.get_peekable_stream_from_bytes(body))
    except (parsers.ResponseParserError, ValueError, IndexError):
        raise Malformed("the body is not CBOR") from None
    if not isinstance(found, dict):
        raise Malformed("the body is not a CBOR map")
    return found


def _from_json(shape, value: Any, at: str, unknown: list[str]) -> Any:
    if shape is None or value is None:
        return value
    if shape.type_name == "structure" and isinstance(value, dict):
        if getattr(shape, "is_document_type", False):
            return value
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        typed = {}
        for name, one in value.items():
            where = f"{at}.{name}" if at else name
            known = names.get(name)
            if known is None:
                unknown.append(where)
            elif one is not None:
                typed[known] = _from_json(shape.members[known], one, where, unknown)
        return typed
    if shape.type_name == "list" and isinstance(value, list):
        return [_from_json(shape.member, one, f"{at}.{n}", unknown) for n, one in enumerate(value, 1)]
    if shape.type_name == "map" and isinstance(value, dict):
        return {key: _from_json(shape.value, one, f"{at}.{key}", unknown) for key, one in value.items()}
    if shape.type_name == "blob" and isinstance(value, str):  # CBOR has bytes of its own
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            return value
    if shape.type_name == "timestamp" and isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, timezone.utc)
        except (ValueError, OverflowError, OSError):  # no year has it
            return value
    return value


def _tree(flat: dict[str, str]) -> dict:
    """`A.member.1.B=x` as {"A": {"member": {"1": {"B": "x"}}}}; a value at a name that has members too is under ''."""
    root: dict[str, Any] = {}
    for name, value in flat.items():
        node = root
        for part in name.split("."):
            node = node.setdefault(part, {})
        node[""] = value
    return root


def _leaf(node: Any) -> str | None:
    return node.get("") if isinstance(node, dict) else node


def _from_form(shape, node: dict, ec2: bool, at: str, unknown: list[str]) -> Any:
    kind = shape.type_name
    if kind == "structure":
        typed, names = {}, {}
        for name, member in shape.members.items():
            names[form_name(name, member, ec2)] = (name, member)
        for part, child in node.items():
            where = f"{at}.{part}" if at and part else at or part
            if part not in names:
                if part:
                    unknown.append(where)
                continue
            name, member = names[part]
            typed[name] = _from_form(member, child, ec2, where, unknown)
        return typed
    if kind in ("list", "map") and _leaf(node) is not None and len(node) == 1:
        # An empty list is sent as `Name=`; anything else at a list's own name has the wrong type.
        empty: Any = [] if kind == "list" else {}
        return empty if _leaf(node) == "" else _leaf(node)
    if kind == "list":
        inner = node
        if not any(part.isdigit() for part in node):  # A.member.1 or A.Tag.1: the word is the member's name
            inner = next((child for part, child in node.items() if part), {})
        numbers = sorted((int(part) for part in inner if part.isdigit()))
        return [_from_form(shape.member, inner[str(n)], ec2, f"{at}.{n}", unknown) for n in numbers]
    if kind == "map":
        inner = node if any(part.isdigit() for part in node) else next((c for p, c in node.items() if p), {})
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        entries = [inner[str(n)] for n in sorted(int(part) for part in inner if part.isdigit())]
        return {
            _leaf(entry.get(key_name, {})) or "": _from_form(shape.value, entry.get(value_name, {}), ec2, at, unknown)
            for entry in entries
        }
    return _scalar(kind, _leaf(node))


def form_name(name: str, member, ec2: bool) -> str:
    """How a member is called in a form."""
    if not ec2:
        flattened = member.type_name == "list" and member.serialization.get("flattened")
        inner = member.member.serialization.get("name") if flattened else None
        return inner or member.serialization.get("name", name)
    if "queryName" in member.serialization:
        return member.serialization["queryName"]
    own = member.serialization.get("name", name)
    return own[0].upper() + own[1:]


def _scalar(kind: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        if kind in ("integer", "long"):
            return int(text)
        if kind in ("float", "double"):
            return float(text)
        if kind == "boolean" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if kind == "timestamp":
            return datetime.fromisoformat(text.replace("Z", "+00:00"))
        if kind == "blob":
            return base64.b64decode(text, validate=True)
    except ValueError:
        pass
    return text


def _from_rest(model, headers: dict[str, str], body: bytes, query: dict) -> dict:
    """Query string, headers and, for rest-json, the body's members."""
    found: dict[str, Any] = {}
    shape = model.input_shape
    if shape is None:
        return found
    for name, member in shape.members.items():
        where, key = member.serialization.get("location"), member.serialization.get("name", name)
        if where == "querystring" and key in query:
            value = query[key][0] if isinstance(query[key], list) else query[key]
            found[name] = _scalar(member.type_name, value)
        elif where == "header" and key.lower() in headers:
            found[name] = _scalar(member.type_name, headers[key.lower()])
    if shape.serialization.get("payload") is None and body[:1] == b"{":
        try:
            found |= _from_json(shape, json.loads(body), "", [])
        except ValueError:
            pass
    return found


def _from_path(model, path: str) -> dict:
    """What stands in a REST request's path: `/{Bucket}/{Key+}`."""
    shape, wanted = model.input_shape, model.http.get("requestUri", "").partition("?")[0]
    if shape is None or "{" not in wanted:
        return {}
    names = {
        member.serialization.get("name", name): name
        for name, member in shape.members.items()
        if member.serialization.get("location") == "uri"
    }
    parts, found = path.partition("?")[0].strip("/").split("/"), {}
    for n, word in enumerate(wanted.strip("/").split("/")):
        if word.startswith("{") and n < len(parts):
            rest = "/".join(parts[n:]) if word.endswith("+}") else parts[n]
            found[names.get(word.strip("{+}"), word)] = unquote(rest)
    return found


def answered(model, status: int, headers: dict[str, str], body: bytes) -> dict:
    """An answer's members, as botocore's own parsers read them; of a refusal {"Error": {"Code", "Message"}}."""
    from botocore import parsers

    headers = {name.lower(): value for name, value in headers.items()}
    kind = headers.get("content-type", "")
    own = model.service_model.metadata.get("protocol", "")
    if "cbor" in kind:
        how = "smithy-rpc-v2-cbor"
    elif own in ("rest-json", "rest-xml", "ec2"):
        how = own
    else:
        how = "query" if "xml" in kind else "json"
    try:
        response = {"status_code": status, "headers": headers, "body": body, "context": {}}
        parsed = parsers.create_parser(how).parse(response, model.output_shape)
    except (parsers.ResponseParserError, KeyError, ValueError):
        return {}
    parsed.pop("ResponseMetadata", None)
    return parsed


def redacted(model, value: dict, answer: bool = False) -> dict:
    """A request's (or an answer's) members without those that the model marks sensitive, and without what may be
    secret.
    """
    shape = model.output_shape if answer else model.input_shape
    return _redacted(shape, value, "")


def _redacted(shape, value: Any, name: str) -> Any:
    if value is None:
        return None
    if name.lower() in SECRET or (shape is not None and shape.metadata.get("sensitive")):
        return HIDDEN
    if name.lower() in ENVIRONMENT:
        return _names_only(value)
    if isinstance(value, dict):
        members = getattr(shape, "members", None) if shape is not None and shape.type_name == "structure" else None
        if members:
            return {key: _redacted(members.get(key), one, str(key)) for key, one in value.items()}
        inner = shape.value if shape is not None and shape.type_name == "map" else None
        return {
            key: HIDDEN if SECRET_KEY.search(str(key)) else _redacted(inner, one, str(key))
            for key, one in value.items()
        }
    if isinstance(value, list):
        member = shape.member if shape is not None and shape.type_name == "list" else None
        return [_redacted(member, one, "") for one in value]
    if isinstance(value, bytes):
        return HIDDEN
    return value


def _names_only(environment: Any) -> Any:
    """Whatever its form: a wrong one is refused, and told too."""
    if isinstance(environment, dict):
        return {key: HIDDEN for key in environment}
    if not isinstance(environment, list):
        return HIDDEN
    return [
        {key: text if key == "name" else HIDDEN for key, text in one.items()} if isinstance(one, dict) else HIDDEN
        for one in environment
    ]
