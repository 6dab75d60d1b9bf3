"""Policies of users and roles, each statement with the name of the policy that it stands in: the call log tells what
allowed a call.
"""

from typing import Any

from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import ParsedStatement


def statements(document: Any, policy: str) -> list[ParsedStatement]:
    """A policy document's statements; `origin` of each is the policy and the statement's Sid, or its position."""
    parsed = iam_evaluator.parse_policy_document(document)
    for position, statement in enumerate(parsed, 1):
        statement.origin = f"{policy} / {statement.sid or f'statement {position}'}"
    return parsed


def origin(statement: ParsedStatement) -> str:
    return getattr(statement, "origin", "") or statement.sid or "a statement without a name"


def _attached(arns: list[str], account: str) -> list[list[ParsedStatement]]:
    found = []
    for arn in arns:
        document = iam_evaluator._resolve_managed_policy_document(arn, account)
        if document:
            found.append(statements(document, arn))
    return found


def _inline(documents: dict | None) -> list[list[ParsedStatement]]:
    return [statements(document, name) for name, document in (documents or {}).items()]


def of_role(name: str, account: str) -> list[list[ParsedStatement]]:
    from ministack.services import iam

    role = iam._roles.get_scoped(account, None, name)
    if role is None:
        return []
    return _inline(role.get("InlinePolicies")) + _attached(role.get("AttachedPolicies", []), account)


def of_user(name: str, account: str) -> list[list[ParsedStatement]]:
    from ministack.services import iam

    user = iam._users.get_scoped(account, None, name)
    if user is None:
        return []
    found = _inline(iam._user_inline_policies.get_scoped(account, None, name))
    found += _attached(user.get("AttachedPolicies", []), account)
    for (owner, group), record in iam._groups.to_dict().items():
        if owner == account and name in record.get("Users", []):
            found += _inline(iam._group_inline_policies.get_scoped(account, None, group))
            found += _attached(record.get("AttachedPolicies", []), account)
    return found


def boundary(store, name: str, account: str) -> list[list[list[ParsedStatement]]]:
    """The permissions boundary of a user or role, as a limit; a boundary that is gone allows nothing."""
    arn = (store.get_scoped(account, None, name) or {}).get("PermissionsBoundary")
    return [_attached([arn], account)] if arn else []


def _of_session(session: dict, account: str) -> list[list[list[ParsedStatement]]]:
    passed = session.get("SessionPolicies")
    if passed is None:
        return []
    own = [statements(passed["Policy"], "session policy")] if passed.get("Policy") else []
    return [own + _attached(passed.get("PolicyArns", []), account)]


def install() -> None:
    iam_evaluator._gather_role_policies = of_role
    iam_evaluator._gather_user_policies = of_user
    iam_evaluator._permissions_boundary = boundary
    iam_evaluator._session_policy_limits = _of_session


def reset() -> None:
    pass


def stop() -> None:
    pass
