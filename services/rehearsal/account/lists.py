"""Lists as AWS answers them: in pages, with a token for the rest, and over everything that is tagged.

ministack answers several lists whole; code that forgets the token would pass here and lose resources on AWS.
GetResources knows only two of the kinds of things we make in ministack; the proof that a deployment left nothing
behind is this call, so it must know all.
"""

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from typing import Any, Callable

from account import tags

RESOURCES_PAGE = 50  # GetResources: 50 by default, 100 at most
BALANCING_PAGE = 400
RDS_PAGE = 100
MAP_PAGE = 100


def token_of(position: int) -> str:
    return base64.urlsafe_b64encode(f"rehearsal:{position}".encode()).decode()


def position_of(token: str | None) -> int:
    """Where a token continues; ValueError for what was never a token."""
    if not token:
        return 0
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
    except (ValueError, UnicodeDecodeError) as error:
        raise ValueError(token) from error
    if not text.startswith("rehearsal:"):
        raise ValueError(token)
    return int(text.partition(":")[2])


def _json(status: int, body: dict) -> tuple:
    return status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode()


# ---------------------------------------------------------------- resource groups tagging


def everything() -> list[tuple[str, dict[str, str]]]:
    """(ARN, tags) of all that is or was tagged in the current account and region, ours first, then ministack's own
    collectors.
    """
    from ministack.services import tagging

    found: dict[str, dict[str, str]] = {}
    for store in tags.STORES.values():
        for arn, its in store():
            if arn and its:
                found[arn] = its
    for name, collect in tagging._COLLECTORS.items():
        if name not in tags.STORES:
            for arn, its in collect():
                if its:
                    found.setdefault(arn, {tag["Key"]: tag["Value"] for tag in its})
    # IAM's roles and users are no part of what the tagging API lists.
    return sorted((arn, its) for arn, its in found.items() if arn.split(":")[2] != "iam")


def _of_type(arn: str, wanted: list[str]) -> bool:
    """Whether an ARN is of one of the types asked for: `service` or `service:type`."""
    parts = arn.split(":", 5)
    service, resource = parts[2], parts[5]
    kind = re.split(r"[:/]", resource, maxsplit=1)[0]
    if service == "elasticloadbalancing":
        kind = "/".join(resource.split("/")[:2]) if kind != "targetgroup" else kind
    for one in wanted:
        asked, _, asked_kind = one.partition(":")
        if asked == service and (not asked_kind or asked_kind == kind or asked_kind == kind.partition("/")[0]):
            return True
    return False


def _matches(its: dict[str, str], filters: list[dict]) -> bool:
    return all(one["Key"] in its and (not one.get("Values") or its[one["Key"]] in one["Values"]) for one in filters)


def get_resources(data: dict) -> tuple:
    size = data.get("ResourcesPerPage", RESOURCES_PAGE)
    if not 1 <= size <= 100:
        return _json(
            400,
            {"__type": "InvalidParameterException", "message": f"ResourcesPerPage must be between 1 and 100: {size}"},
        )
    arns, filters, types = (
        data.get("ResourceARNList"),
        data.get("TagFilters") or [],
        data.get("ResourceTypeFilters") or [],
    )
    if arns and (filters or types or data.get("PaginationToken")):
        message = "ResourceARNList cannot be specified with filters, compliance details, or pagination parameters"
        return _json(400, {"__type": "InvalidParameterException", "message": message})
    try:
        start = position_of(data.get("PaginationToken"))
    except ValueError:
        return _json(400, {"__type": "PaginationTokenExpiredException", "message": "PaginationToken is not valid"})
    rows = [
        {"ResourceARN": arn, "Tags": [{"Key": name, "Value": value} for name, value in its.items()]}
        for arn, its in everything()
        if (not arns or arn in arns) and (not types or _of_type(arn, types)) and _matches(its, filters)
    ]
    more = start + size < len(rows)
    return _json(
        200,
        {
            "ResourceTagMappingList": rows[start : start + size],
            "PaginationToken": token_of(start + size) if more else "",
        },
    )


# ---------------------------------------------------------------- pages of other services' lists


def _filtered(rows: list[dict], filters: list[dict], fields: dict[str, Callable[[dict], Any]]) -> list[dict]:
    """Cloud Map's filters: EQ (the default), IN, BEGINS_WITH."""
    for one in filters:
        read, condition, values = fields[one["Name"]], one.get("Condition", "EQ"), one["Values"]
        if condition == "BEGINS_WITH":
            rows = [row for row in rows if str(read(row)).startswith(values[0])]
        else:
            rows = [row for row in rows if read(row) in values]
    return rows


def _paged_json(
    data: dict, rows: list, field: str, most: int, names: tuple[str, str] = ("MaxResults", "NextToken")
) -> tuple:
    size = data.get(names[0]) or most
    if not 1 <= size <= most:
        return _json(400, {"__type": "InvalidInput", "Message": f"{names[0]} must be between 1 and {most}: {size}"})
    try:
        start = position_of(data.get(names[1]))
    except ValueError:
        return _json(400, {"__type": "InvalidInput", "Message": f"{names[1]} is not valid"})
    answer: dict[str, Any] = {field: rows[start : start + size]}
    if start + size < len(rows):
        answer[names[1]] = token_of(start + size)
    return _json(200, answer)


def _cloud_map() -> None:
    from ministack.services import servicediscovery as service

    def services(data: dict) -> tuple:
        fields = {"NAMESPACE_ID": lambda row: row.get("NamespaceId"), "RESOURCE_OWNER": lambda row: "SELF"}
        return _paged_json(
            data, _filtered(service._services.values(), data.get("Filters") or [], fields), "Services", MAP_PAGE
        )

    def namespaces(data: dict) -> tuple:
        fields = {
            "TYPE": lambda row: row.get("Type"),
            "NAME": lambda row: row.get("Name"),
            "HTTP_NAME": lambda row: row.get("Name"),
            "RESOURCE_OWNER": lambda row: "SELF",
        }
        return _paged_json(
            data, _filtered(service._namespaces.values(), data.get("Filters") or [], fields), "Namespaces", MAP_PAGE
        )

    service._list_services, service._list_namespaces = services, namespaces


def slice_xml(text: str, list_tag: str, start: int, size: int) -> tuple[str, bool]:
    """The answer with only `size` members of its list from `start` on, and whether there are more."""
    namespace = re.search(r'xmlns="([^"]+)"', text)
    if namespace:
        ElementTree.register_namespace("", namespace[1])
    root = ElementTree.fromstring(text)
    holder = next((one for one in root.iter() if one.tag.rpartition("}")[2] == list_tag), None)
    if holder is None:
        return text, False
    members = list(holder)
    for position, member in enumerate(members):
        if not start <= position < start + size:
            holder.remove(member)
    return ElementTree.tostring(root, encoding="unicode"), start + size < len(members)


def _paged_xml(actions: dict, action: str, list_tag: str, names: tuple[str, str, str], most: int | None) -> None:
    """Cut a query service's list into pages. `names`: of the page size, of the token in requests, of the token in
    answers. `most`: default and limit; None: only a size that is asked for cuts (EC2).
    """
    inner = actions.get(action)
    if inner is None:
        return
    size_name, token_name, answered = names

    def call(params):
        asked = _first(params, size_name)
        size = min(int(asked), most or 1000) if asked else most
        try:
            start = position_of(_first(params, token_name))
        except ValueError:
            return _bad_token(token_name)
        status, headers, body = inner(
            {name: value for name, value in params.items() if name not in (size_name, token_name)}
        )
        text = body.decode() if isinstance(body, bytes) else body
        if status != 200 or (size is None and not start):
            return status, headers, body
        text = re.sub(rf"<{answered}>[^<]*</{answered}>|<{answered} ?/>", "", text)
        cut, more = slice_xml(text, list_tag, start, size or 1000)
        if more:
            token = f"<{answered}>{token_of(start + (size or 1000))}</{answered}>"
            cut = cut.replace(f"</{list_tag}>", f"</{list_tag}>{token}", 1)
        return status, headers, cut.encode()

    actions[action] = call


def _bad_token(name: str) -> tuple:
    error = f"<Type>Sender</Type><Code>InvalidParameterValue</Code><Message>{name} is not valid</Message>"
    body = f"<ErrorResponse><Error>{error}</Error></ErrorResponse>"
    return 400, {"Content-Type": "text/xml"}, body.encode()


def _first(params: dict, name: str) -> str | None:
    value = params.get(name)
    return value[0] if isinstance(value, list) and value else value if isinstance(value, str) else None


EC2_LISTS = {
    "DescribeSecurityGroups": "securityGroupInfo",
    "DescribeSecurityGroupRules": "securityGroupRuleSet",
    "DescribeSubnets": "subnetSet",
    "DescribeVpcs": "vpcSet",
    "DescribeNatGateways": "natGatewaySet",
    "DescribeRouteTables": "routeTableSet",
    "DescribeNetworkInterfaces": "networkInterfaceSet",
    "DescribeTags": "tagSet",
}
BALANCING_LISTS = {
    "DescribeLoadBalancers": "LoadBalancers",
    "DescribeTargetGroups": "TargetGroups",
    "DescribeListeners": "Listeners",
    "DescribeRules": "Rules",
}
RDS_LISTS = {
    "DescribeDBInstances": "DBInstances",
    "DescribeDBSnapshots": "DBSnapshots",
    "DescribeDBSubnetGroups": "DBSubnetGroups",
}


def install() -> None:
    from ministack.services import alb, ec2, rds, tagging

    async def tagging_request(method, path, headers, body, query_params):
        if headers.get("x-amz-target", "").endswith(".GetResources"):
            return get_resources(json.loads(body or b"{}"))
        return await inner(method, path, headers, body, query_params)

    inner = tagging.handle_request
    tagging.handle_request = tagging_request
    _cloud_map()
    for action, tag in EC2_LISTS.items():
        _paged_xml(ec2._ACTION_MAP, action, tag, ("MaxResults", "NextToken", "nextToken"), None)
    for action, tag in BALANCING_LISTS.items():
        _paged_xml(alb._ACTION_MAP, action, tag, ("PageSize", "Marker", "NextMarker"), BALANCING_PAGE)
    for action, tag in RDS_LISTS.items():
        _paged_xml(rds._ACTION_MAP, action, tag, ("MaxRecords", "Marker", "Marker"), RDS_PAGE)


def reset() -> None:
    pass


def stop() -> None:
    pass
