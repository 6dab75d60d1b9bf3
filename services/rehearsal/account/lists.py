"""Lists as AWS answers them: in pages, with a token for the rest, and over everything that is tagged.

ministack answers several lists whole, or with tokens that are positions; code that forgets the token would pass here
and lose resources on AWS. GetResources knows only two of the kinds of things we make in ministack; the proof that a
deployment left nothing behind is this call, so it must know all.
"""

import importlib
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from typing import Any, Callable

from ministack.core.responses import error_response_json, json_response

from account import pages, tags

RESOURCES_PAGE = 50  # GetResources: 50 by default, 100 at most
BALANCING_PAGE = 400
RDS_PAGE = 100
MAP_PAGE = 100


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
    return [(arn, its) for arn, its in found.items() if arn.split(":")[2] != "iam"]


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
    if arns and len(arns) > 100:
        message = "Member must have length less than or equal to 100: resourceARNList"
        return _json(400, {"__type": "InvalidParameterException", "message": message})
    size = 100 if arns else size  # there is no second page of what was named
    rows = [
        {"ResourceARN": arn, "Tags": [{"Key": name, "Value": value} for name, value in its.items()]}
        for arn, its in everything()
        if (not arns or arn in arns) and (not types or _of_type(arn, types)) and _matches(its, filters)
    ]
    given = {name: value for name, value in data.items() if name not in ("ResourcesPerPage", "PaginationToken")}
    try:
        shown, token = pages.cut(
            "tag.GetResources",
            given,
            rows,
            size,
            data.get("PaginationToken"),
            lambda it: it["ResourceARN"],
            valid="token.tagging",
        )
    except pages.BadToken as error:
        if error.expired:
            return _json(
                400,
                {
                    "__type": "PaginationTokenExpiredException",
                    "message": "The request failed because the specified PaginationToken has expired.",
                },
            )
        return _json(400, {"__type": "InvalidParameterException", "message": "PaginationToken is not valid"})
    return _json(200, {"ResourceTagMappingList": shown, "PaginationToken": token or ""})


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


def _paged_json(data: dict, rows: list, field: str, most: int) -> tuple:
    size = data.get("MaxResults") or most
    if not 1 <= size <= most:
        return _json(400, {"__type": "InvalidInput", "Message": f"MaxResults must be between 1 and {most}: {size}"})
    given = {name: value for name, value in data.items() if name not in ("MaxResults", "NextToken")}
    try:
        shown, token = pages.cut(
            f"servicediscovery.{field}", given, rows, size, data.get("NextToken"), lambda it: it["Id"]
        )
    except pages.BadToken:
        return _json(400, {"__type": "InvalidInput", "Message": "NextToken is not valid"})
    return _json(200, {field: shown, **({"NextToken": token} if token else {})})


@dataclass(frozen=True)
class Listed:
    """A list of ministack's JSON services. `refused`: what AWS answers to a token that is not of this list."""

    module: str
    function: str
    field: str
    identity: str
    names: tuple[str, str]  # of the page size and of the token
    default: int
    most: int
    refused: tuple[str, str]
    ordered: bool = False


LISTED = (
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecretVersionIds.html
    Listed(
        "secretsmanager",
        "_list_secret_version_ids",
        "Versions",
        "VersionId",
        ("MaxResults", "NextToken"),
        100,
        100,
        ("InvalidNextTokenException", "Invalid NextToken."),
    ),
    # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html: sorted as asked for
    Listed(
        "secretsmanager",
        "_list_secrets",
        "SecretList",
        "ARN",
        ("MaxResults", "NextToken"),
        100,
        100,
        ("InvalidNextTokenException", "Invalid NextToken."),
        ordered=True,
    ),
    # https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html: "The results are
    # ASCII-sorted by log group name"
    Listed(
        "cloudwatch_logs",
        "_describe_log_groups",
        "logGroups",
        "logGroupName",
        ("limit", "nextToken"),
        50,
        50,
        ("InvalidParameterException", "The specified nextToken is invalid."),
        ordered=True,
    ),
    # https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
    Listed(
        "ecr",
        "_describe_images",
        "imageDetails",
        "imageDigest",
        ("maxResults", "nextToken"),
        100,
        1000,
        ("InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'"),
    ),
    Listed(
        "ecr",
        "_describe_repositories",
        "repositories",
        "repositoryName",
        ("maxResults", "nextToken"),
        100,
        1000,
        ("InvalidParameterException", "Invalid parameter at 'nextToken' failed to satisfy constraint: 'Invalid token'"),
    ),
)


def _whole(inner: Callable[[dict], tuple], data: dict, listed: Listed) -> tuple:
    """(answer without its list, all rows), or ministack's refusal."""
    rows, token = [], None
    while True:
        page = {listed.names[0]: listed.most, **({listed.names[1]: token} if token else {})}
        status, headers, body = inner({**data, **page})
        if status != 200:
            return (status, headers, body), None
        answer = json.loads(body)
        rows += answer.pop(listed.field, [])
        token = answer.pop(listed.names[1], None)
        if not token:
            return answer, rows


def _listed(listed: Listed) -> None:
    """Cut a list of ministack's into pages of ours."""
    from ministack import services

    module = importlib.import_module(f"{services.__name__}.{listed.module}")
    inner = getattr(module, listed.function)

    def call(data: dict) -> tuple:
        given = {name: value for name, value in data.items() if name not in listed.names}
        answer, rows = _whole(inner, given, listed)
        if rows is None:
            return answer
        size = min(data.get(listed.names[0]) or listed.default, listed.most)
        try:
            shown, token = pages.cut(
                f"{listed.module}.{listed.field}",
                given,
                rows,
                size,
                data.get(listed.names[1]),
                lambda row: row[listed.identity],
                listed.ordered,
            )
        except pages.BadToken:
            return error_response_json(*listed.refused, 400)
        return json_response({**answer, listed.field: shown, **({listed.names[1]: token} if token else {})})

    setattr(module, listed.function, call)


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


def _members(text: str, list_tag: str) -> tuple[ElementTree.Element, ElementTree.Element | None]:
    """The answer and its list. Namespaces stay as they are."""
    namespace = re.search(r'xmlns="([^"]+)"', text)
    if namespace:
        ElementTree.register_namespace("", namespace[1])
    root = ElementTree.fromstring(text)
    return root, next((one for one in root.iter() if one.tag.rpartition("}")[2] == list_tag), None)


def _identity(names: tuple[str, ...]) -> Callable[[ElementTree.Element], str]:
    def read(member: ElementTree.Element) -> str:
        return " ".join(
            next((one.text or "" for one in member if one.tag.rpartition("}")[2] == name), "") for name in names
        )

    return read


@dataclass(frozen=True)
class Query:
    """How a query service pages. `refused`: a token that is not of this list. `most`: the default and the limit; None:
    only a size that is asked for cuts.
    """

    size: str
    token: str
    answered: str
    most: int | None
    refused: Callable[[], tuple]


def _paged_xml(
    actions: dict, service: str, action: str, list_tag: str, identity: tuple[str, ...], query: Query
) -> None:
    """Cut a query service's list into pages."""
    inner = actions.get(action)
    if inner is None:
        return

    def call(params):
        asked, token = _first(params, query.size), _first(params, query.token)
        size = min(int(asked), query.most or 1000) if asked else query.most
        given = {name: value for name, value in params.items() if name not in (query.size, query.token)}
        status, headers, body = inner(given)
        if status != 200:
            return status, headers, body
        text = body.decode() if isinstance(body, bytes) else body
        text = re.sub(rf"<{query.answered}>[^<]*</{query.answered}>|<{query.answered} ?/>", "", text)
        root, holder = _members(text, list_tag)
        if holder is None:
            return status, headers, body
        members = list(holder)
        try:
            shown, following = pages.cut(
                f"{service}.{action}", given, members, size or max(1, len(members)), token, _identity(identity)
            )
        except pages.BadToken:
            return query.refused()
        for member in members:
            holder.remove(member)
        holder.extend(shown)
        cut = ElementTree.tostring(root, encoding="unicode")
        if following:
            mark = f"<{query.answered}>{following}</{query.answered}>"
            cut = cut.replace(f"</{list_tag}>", f"</{list_tag}>{mark}", 1)
        return status, headers, cut.encode()

    actions[action] = call


def _first(params: dict, name: str) -> str | None:
    value = params.get(name)
    return value[0] if isinstance(value, list) and value else value if isinstance(value, str) else None


EC2_LISTS = {
    "DescribeSecurityGroups": ("securityGroupInfo", "groupId"),
    "DescribeSecurityGroupRules": ("securityGroupRuleSet", "securityGroupRuleId"),
    "DescribeSubnets": ("subnetSet", "subnetId"),
    "DescribeVpcs": ("vpcSet", "vpcId"),
    "DescribeNatGateways": ("natGatewaySet", "natGatewayId"),
    "DescribeRouteTables": ("routeTableSet", "routeTableId"),
    "DescribeNetworkInterfaces": ("networkInterfaceSet", "networkInterfaceId"),
    "DescribeTags": ("tagSet", "resourceId", "key"),
}
BALANCING_LISTS = {
    "DescribeLoadBalancers": ("LoadBalancers", "LoadBalancerArn"),
    "DescribeTargetGroups": ("TargetGroups", "TargetGroupArn"),
    "DescribeListeners": ("Listeners", "ListenerArn"),
    "DescribeRules": ("Rules", "RuleArn"),
}
RDS_LISTS = {
    "DescribeDBInstances": ("DBInstances", "DBInstanceIdentifier"),
    "DescribeDBSnapshots": ("DBSnapshots", "DBSnapshotIdentifier"),
    "DescribeDBSubnetGroups": ("DBSubnetGroups", "DBSubnetGroupName"),
}


def _stacks() -> None:
    """CloudFormation's own order, newest first for events, stays; its tokens are positions."""
    from ministack.services.cloudformation import changesets, handlers, helpers

    def identity(row) -> str:
        if isinstance(row, dict):
            return str(row.get("EventId") or row.get("StackId") or row)
        return str(row[0] if isinstance(row, tuple) else row)

    def page(items, params, action, page_size=helpers.PAGE_SIZE):
        given = {name: value for name, value in params.items() if name not in ("NextToken", "MaxResults")}
        try:
            shown, token = pages.cut(
                f"cloudformation.{action}", given, list(items), page_size, _first(params, "NextToken"), identity, True
            )
        except pages.BadToken:
            return [], "", helpers._error("ValidationError", "Invalid NextToken")
        return shown, f"<NextToken>{token}</NextToken>" if token else "", None

    for module in (changesets, handlers):
        module._page = page


def install() -> None:
    from ministack.services import alb, ec2, rds, tagging

    async def tagging_request(method, path, headers, body, query_params):
        if headers.get("x-amz-target", "").endswith(".GetResources"):
            return get_resources(json.loads(body or b"{}"))
        return await inner(method, path, headers, body, query_params)

    inner = tagging.handle_request
    tagging.handle_request = tagging_request
    _cloud_map()
    _stacks()
    for listed in LISTED:
        _listed(listed)
    # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination
    compute = Query(
        "MaxResults",
        "NextToken",
        "nextToken",
        None,
        lambda: ec2._error("InvalidPaginationToken", "The specified pagination token is not valid or is expired.", 400),
    )
    # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    balancing = Query(
        "PageSize",
        "Marker",
        "NextMarker",
        BALANCING_PAGE,
        lambda: alb._error("ValidationError", "The specified marker is not valid"),
    )
    # https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeDBInstances.html
    databases = Query(
        "MaxRecords",
        "Marker",
        "Marker",
        RDS_PAGE,
        lambda: rds._error("InvalidParameterValue", "The request marker is not valid", 400),
    )
    for action, (tag, *identity) in EC2_LISTS.items():
        _paged_xml(ec2._ACTION_MAP, "ec2", action, tag, tuple(identity), compute)
    for action, (tag, *identity) in BALANCING_LISTS.items():
        _paged_xml(alb._ACTION_MAP, "elasticloadbalancing", action, tag, tuple(identity), balancing)
    for action, (tag, *identity) in RDS_LISTS.items():
        _paged_xml(rds._ACTION_MAP, "rds", action, tag, tuple(identity), databases)


def reset() -> None:
    pass


def stop() -> None:
    pass
