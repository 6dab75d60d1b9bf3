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


def trusts(record: dict, service: str = ECS_TASKS) -> bool:
    """Whether the role's trust policy lets this AWS service assume it. Conditions on the source are not looked at."""
    raw = record.get("AssumeRolePolicyDocument") or "{}"
    raw = json.loads(raw) if isinstance(raw, str) else raw
    statements = raw.get("Statement", [])
    statements = [statements] if isinstance(statements, dict) else statements
    for statement in statements:
        principal = statement.get("Principal")
        named = principal.get("Service", []) if isinstance(principal, dict) else []
        named = [named] if isinstance(named, str) else named
        actions = statement.get("Action", [])
        actions = [actions] if isinstance(actions, str) else actions
        if (
            statement.get("Effect") == "Allow"
            and service in named
            and iam_evaluator._action_matches("sts:AssumeRole", actions, [])
        ):
            return True
    return False


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
