"""What a role may do, asked by the emulated services that act with it (ECS with a task's execution role).

ministack's evaluator answers, with the same documents, boundaries, resource policies and condition keys as for a
request over HTTP.
"""

import json

from account import identities, policy, trail
from ministack.core import iam_evaluator
from ministack.core.responses import request_scope

ECS_TASKS = "ecs-tasks.amazonaws.com"


def role(arn: str) -> dict | None:
    """The role's record as other services see it, None when they do not."""
    parts = arn.split(":")
    if len(parts) < 6 or not parts[5].startswith("role/"):
        return None
    return identities.seen("role", parts[4], parts[5].rsplit("/", 1)[-1])


def trusts(record: dict, source: str, service: str = ECS_TASKS) -> bool:
    """Whether the role's trust policy lets this AWS service assume it on behalf of `source`, an ARN:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    raw = record.get("AssumeRolePolicyDocument") or "{}"
    raw = json.loads(raw) if isinstance(raw, str) else raw
    statements = raw.get("Statement", [])
    statements = [statements] if isinstance(statements, dict) else statements
    asked = iam_evaluator.EvalContext(
        principal_arn=service,
        principal_type="AWSService",
        principal_account="",
        action="sts:AssumeRole",
        resource_arn=record.get("Arn", ""),
        region=source.split(":")[3],
        service_context={
            "aws:sourceaccount": source.split(":")[4],
            "aws:sourcearn": source,
            "aws:principalisawsservice": "true",
            "aws:principalservicename": service,
        },
    )
    decided = [
        statement.get("Effect")
        for statement in statements
        if _names(statement, service)
        and iam_evaluator._action_matches(
            "sts:AssumeRole", _listed(statement.get("Action")), _listed(statement.get("NotAction"))
        )
        and iam_evaluator._conditions_met(statement.get("Condition") or {}, asked)
    ]
    return "Allow" in decided and "Deny" not in decided


def _names(statement: dict, service: str) -> bool:
    """Everyone is denied by "*"; a service is let in by its name."""
    principal = statement.get("Principal")
    if principal == "*":
        return statement.get("Effect") == "Deny"
    return isinstance(principal, dict) and service in _listed(principal.get("Service"))


def _listed(value: list | str | None) -> list:
    return [value] if isinstance(value, str) else value or []


def denied(
    arn: str, session: str, action: str, resource: str, region: str, context: dict | None = None, via: str = ECS_TASKS
) -> str | None:
    """None when the role may; otherwise AWS's sentence. Either way the call log has it, as made by the service `via`.

    `context` has further condition keys in lower case. Tags of the resource are looked up (aws:ResourceTag and, for
    secrets, secretsmanager:ResourceTag).
    """
    from ministack.services import iam, tagging

    account, name = arn.split(":")[4], arn.rsplit("/", 1)[-1]
    record = role(arn)
    principal = f"arn:aws:sts::{account}:assumed-role/{name}/{session}"
    owner = resource.split(":")[4] if resource.count(":") >= 5 else account
    with request_scope(account, region):
        policies = iam_evaluator._gather_role_policies(name, account)
        limits = iam_evaluator._permissions_boundary(iam._roles, name, account)
    with request_scope(owner or account, region):
        service = action.split(":")[0]
        keys = {key.lower(): value for key, value in (context or {}).items()}
        keys.setdefault("aws:tagkeys", None)
        for tag, value in (tagging.resource_tags(resource) or {}).items():
            keys.setdefault(f"aws:resourcetag/{tag}".lower(), value)
            keys.setdefault(f"{service}:resourcetag/{tag}".lower(), value)
        asked = iam_evaluator.EvalContext(
            principal_arn=principal,
            principal_type="AssumedRole",
            principal_account=account,
            action=action,
            resource_arn=resource,
            region=region,
            service_context=keys,
            principal_keys={
                f"aws:principaltag/{t['Key'].lower()}": t["Value"] for t in (record or {}).get("Tags") or []
            },
        )
        result = iam_evaluator.evaluate(asked, policies, *limits)
        found = iam_evaluator._first_match(asked, _flat(policies), "Deny" if result.decision == "Deny" else "Allow")
        by = identities.origin(found) if found else ""
        sort = "identity-based policy"
        own_policy = iam_evaluator._resource_policy(service, resource)
        if own_policy is not None:
            identity = result
            result = iam_evaluator.combine_resource_policy(
                identity, asked, *own_policy, required=service == "kms", limits=limits
            )
            if result.decision != identity.decision:
                sort, by = "resource-based policy", f"policy of {resource}"
    told = {
        "service": service,
        "action": action.partition(":")[2],
        "resource": resource,
        "account": account,
        "region": region,
        "principal": principal,
        "session": session,
        "via": via,
    }
    forbidden = policy.by_organization(account, action, resource)
    if result.decision == "Allow" and forbidden is None:
        trail.record(**told, why=by)
        return None
    why = (
        forbidden.why
        if forbidden
        else f"with an explicit deny in {policy.article(sort)}"
        if result.decision == "Deny"
        else f"because no {sort} allows the {action} action"
    )
    explicit = f": {by}" if result.decision == "Deny" and by else ""
    trail.record(**told, why=f"{action} on {resource}: {why}{explicit}", error="AccessDeniedException")
    return f"User: {principal} is not authorized to perform: {action} on resource: {resource} {why}"


def _flat(policies: list[list]) -> list:
    return [statement for statements in policies for statement in statements]
