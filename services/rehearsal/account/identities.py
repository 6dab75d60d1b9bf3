"""Users, roles and their policies as the other services see them: some seconds late, because IAM is eventually
consistent ("changes that you make … take time to become visible",
https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency). IAM's own
reads show a change at once. Each statement carries the name of the policy that it stands in: the call log tells what
allowed a call.
"""

import copy
import functools
import json
import threading
from dataclasses import dataclass
from typing import Any

from account import clock, control, durations, settings
from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import ParsedStatement


def statements(document: Any, policy: str) -> list[ParsedStatement]:
    """A policy document's statements; `origin` of each is the policy and the statement's Sid, or its position."""
    return list(_parsed(document if isinstance(document, str) else json.dumps(document), policy))


@functools.lru_cache(maxsize=1000)
def _parsed(document: str, policy: str) -> list[ParsedStatement]:
    """Kept: the same few documents are asked about at every call."""
    parsed = iam_evaluator.parse_policy_document(document)
    for position, statement in enumerate(parsed, 1):
        statement.origin = f"{policy} / {statement.sid or f'statement {position}'}"
    return parsed


def origin(statement: ParsedStatement) -> str:
    return getattr(statement, "origin", "") or statement.sid or "a statement without a name"


# What is seen of IAM -----------------------------------------------------------------------------------------


@dataclass
class _Version:
    seen_from: float  # on the account's clock
    text: str  # to compare
    record: Any  # None: deleted


_versions: dict[tuple[str, str, str], list[_Version]] = {}  # (kind, account, name), oldest first
_lock = threading.RLock()
# Fields of the records that change by use.
_USED = ("RoleLastUsed", "PasswordLastUsed", "LastUsed", "AttachmentCount")


def _stores() -> dict[str, Any]:
    from ministack.services import iam

    return {
        "role": iam._roles,
        "user": iam._users,
        "user policies": iam._user_inline_policies,
        "group": iam._groups,
        "group policies": iam._group_inline_policies,
        "policy": iam._policies,
        "key": iam._access_keys,
    }


def _text(record: Any) -> str:
    if isinstance(record, dict):
        record = {key: value for key, value in record.items() if key not in _USED}
    return json.dumps(record, default=str)


def _note(kind: str, account: str, name: str, record: Any) -> list[_Version]:
    """Its versions, after what has changed since the last look was added: it will be seen later."""
    text = "" if record is None else _text(record)
    with _lock:
        known = _versions.setdefault((kind, account, name), [])
        if (known[-1].text if known else "") != text:
            seen_from = clock.monotonic() + durations.seconds("iam.consistency") * settings.LAG
            known.append(_Version(seen_from, text, None if record is None else copy.deepcopy(record)))
        while len(known) > 1 and known[1].seen_from <= clock.monotonic():
            known.pop(0)
        return list(known)


def look(account: str) -> None:
    """Note what has changed in an account: called after whatever may have changed it."""
    if not settings.LAG:
        return
    for kind, store in _stores().items():
        there = {name: record for (owner, name), record in store.to_dict().items() if owner == account}
        gone = {name for of, owner, name in list(_versions) if of == kind and owner == account} - set(there)
        for name in [*there, *gone]:
            _note(kind, account, name, there.get(name))


def seen(kind: str, account: str, name: str) -> Any:
    """The record as other services see it now; None when they do not see it."""
    record = _stores()[kind].get_scoped(account, None, name)
    if not settings.LAG:
        return record
    now = clock.monotonic()
    past = [version for version in _note(kind, account, name, record) if version.seen_from <= now]
    return past[-1].record if past else None


def settle(account: str = "") -> None:
    """Let all that IAM knows be seen now."""
    if not settings.LAG:
        return
    with _lock:
        for owner in [account] if account else _accounts():
            look(owner)
        for (_, owner, _), known in _versions.items():
            if known and account in ("", owner):
                known[:] = [known[-1]]
                known[0].seen_from = min(known[0].seen_from, clock.monotonic())


def wait(account: str) -> None:
    """Until all that IAM knows of an account is seen."""
    look(account)
    with _lock:
        until = [known[-1].seen_from for (_, owner, _), known in _versions.items() if owner == account and known]
    left = max(until, default=0) - clock.monotonic()
    if left > 0:
        clock.sleep(left)


def _accounts() -> set[str]:
    return {owner for store in _stores().values() for owner, _ in store.to_dict()}


def _document(arn: str, account: str) -> Any:
    """A managed policy's default version, as it is seen."""
    if arn.startswith("arn:aws:iam::aws:policy/"):
        return _ministack_document(arn, account)
    record = seen("policy", account, arn) or {}
    return (record.get("Versions", {}).get(record.get("DefaultVersionId", "v1")) or {}).get("Document")


_ministack_document = iam_evaluator._resolve_managed_policy_document


# Policies ----------------------------------------------------------------------------------------------------


def _attached(arns: list[str], account: str, now: bool = False) -> list[list[ParsedStatement]]:
    found = []
    for arn in arns:
        document = (_ministack_document if now else _document)(arn, account)
        if document:
            found.append(statements(document, arn))
    return found


def _inline(documents: dict | None) -> list[list[ParsedStatement]]:
    return [statements(document, name) for name, document in (documents or {}).items()]


def of_role(name: str, account: str, now: bool = False) -> list[list[ParsedStatement]]:
    """As services see it; with `now` as IAM itself does."""
    role = _stores()["role"].get_scoped(account, None, name) if now else seen("role", account, name)
    if role is None:
        return []
    return _inline(role.get("InlinePolicies")) + _attached(role.get("AttachedPolicies", []), account, now)


def of_user(name: str, account: str, now: bool = False) -> list[list[ParsedStatement]]:
    """As services see it; with `now` as IAM itself does."""
    stores = _stores()

    def get(kind: str, which: str) -> Any:
        return stores[kind].get_scoped(account, None, which) if now else seen(kind, account, which)

    user = get("user", name)
    if user is None:
        return []
    found = _inline(get("user policies", name))
    found += _attached(user.get("AttachedPolicies", []), account, now)
    for owner, group in stores["group"].to_dict():
        record = (get("group", group) if owner == account else None) or {}
        if name in record.get("Users", []):
            found += _inline(get("group policies", group))
            found += _attached(record.get("AttachedPolicies", []), account, now)
    return found


def boundary(store, name: str, account: str) -> list[list[list[ParsedStatement]]]:
    """The permissions boundary of a user or role, as a limit; a boundary that is gone allows nothing."""
    kind = next((kind for kind, one in _stores().items() if one is store), "role")
    arn = (seen(kind, account, name) or {}).get("PermissionsBoundary")
    return [_attached([arn], account)] if arn else []


def _of_session(session: dict, account: str) -> list[list[list[ParsedStatement]]]:
    passed = session.get("SessionPolicies")
    if passed is None:
        return []
    own = [statements(passed["Policy"], "session policy")] if passed.get("Policy") else []
    return [own + _attached(passed.get("PolicyArns", []), account)]


# Access keys -------------------------------------------------------------------------------------------------


def _keys() -> None:
    from ministack import app
    from ministack.services import sts

    resolve, find = iam_evaluator.resolve_credential, iam_evaluator.find_iam_access_key_account

    def resolved(access_key_id, account_id=None, session_token=iam_evaluator._SESSION_TOKEN_NOT_CHECKED):
        from ministack.core.responses import get_account_id

        if not settings.LAG or not str(access_key_id).startswith("AKIA"):
            return resolve(access_key_id, account_id, session_token)
        account, store = account_id or get_account_id(), _stores()["key"]
        there, record = store.get_scoped(account, None, access_key_id), seen("key", account, access_key_id)
        if record is None:
            return iam_evaluator._unknown_access_key()
        if there is not None and there.get("Status") == record.get("Status"):
            return resolve(access_key_id, account_id, session_token)
        if record.get("Status") != "Active":
            return iam_evaluator.CredentialResolutionError(
                "InvalidClientTokenId", "The security token included in the request is invalid."
            )
        name = str(record.get("UserName", ""))
        user = seen("user", account, name) or {}
        return iam_evaluator.ResolvedCredential(
            access_key_id=access_key_id,
            secret_access_key=record.get("SecretAccessKey", ""),
            account_id=account,
            principal_arn=str(user.get("Arn") or f"arn:aws:iam::{account}:user/{name}"),
            principal_id=str(user.get("UserId", "")),
            principal_type="User",
            principal_name=name,
            source_access_key_id=access_key_id,
        )

    def found(access_key_id):
        account = find(access_key_id)
        if account or not settings.LAG:
            return account
        owners = (owner for kind, owner, name in list(_versions) if kind == "key" and name == access_key_id)
        return next((owner for owner in owners if seen("key", owner, access_key_id)), None)

    for module in (iam_evaluator, sts):
        module.resolve_credential, module.find_iam_access_key_account = resolved, found
    app.find_iam_access_key_account = found


def _watch() -> None:
    """After each call of IAM's that changes something."""
    from ministack.core.responses import get_account_id
    from ministack.services import iam

    handle = iam.handle_request

    async def handled(*given, **named):
        if not settings.LAG:
            return await handle(*given, **named)
        look(get_account_id())  # what was there before, so that a change of it is one
        answer = await handle(*given, **named)
        look(get_account_id())
        return answer

    iam.handle_request = handled


def install() -> None:
    iam_evaluator._gather_role_policies = of_role
    iam_evaluator._gather_user_policies = of_user
    iam_evaluator._permissions_boundary = boundary
    iam_evaluator._session_policy_limits = _of_session
    _keys()
    _watch()
    control.route("POST", "/iam/settle", lambda _request: settle() or {})


def reset() -> None:
    with _lock:
        _versions.clear()


def stop() -> None:
    pass
