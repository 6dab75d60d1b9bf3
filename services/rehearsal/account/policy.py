"""IAM as strict as AWS: what each request must be allowed (authorization.py), asked of every policy that applies, in
AWS's words.

ministack finds the caller, checks the signature and has the policy language; here a request is checked on every
resource that AWS checks, with the condition keys that AWS supplies, and a refusal says which kind of policy was
missing. Also here: AssumeRole's limits and source identity, SimulatePrincipalPolicy, AWS's managed policies, the
names of service-linked roles.
"""

import contextvars
import json
import logging
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from account import authorization, clock, identities, trail
from account.authorization import Check, Request, Unknown
from ministack.core import iam_actions, iam_evaluator
from ministack.core.iam_evaluator import EvalContext, EvalResult

log = logging.getLogger("rehearsal")
_HERE = Path(__file__).parent

# The request being authorised, from extract_resource_arn to enforce; the refusal, from there to access_denied_response.
_request: contextvars.ContextVar[Request | None] = contextvars.ContextVar("rehearsal_request", default=None)
# What allowed a request that ministack authorises by itself.
_matched: contextvars.ContextVar[str] = contextvars.ContextVar("rehearsal_matched", default="")
_refusal: contextvars.ContextVar["Refusal | None"] = contextvars.ContextVar("rehearsal_refusal", default=None)


class Keys(dict):
    """An EvalContext's keys for one Check: looked up when a policy asks, so that an unknown one is noticed."""

    def __init__(self, check: Check, principal: dict[str, Any], given: dict[str, Any] | None = None):
        super().__init__()
        self.check, self.principal, self.given, self.missing = check, principal, given, []


@dataclass
class Layer:
    """Policies of one sort: all of them together must allow."""

    sort: str  # as AWS's messages name it
    statements: list


def told(action: str, resource: str, decision: "Refusal | Decision") -> str:
    """A refusal for the call log."""
    return f"{action} on {resource}: {decision.why}{f': {decision.by}' if decision.by else ''}"


@dataclass
class Refusal:
    action: str
    principal: str
    resource: str
    why: str = ""
    unknown: str = ""
    by: str = ""

    @property
    def told(self) -> str:
        """For the call log, which names the policy: AWS's message does not."""
        return self.unknown or told(self.action, self.resource, self)

    @property
    def message(self) -> str:
        return (
            f"User: {self.principal} is not authorized to perform: {self.action} "
            f"on resource: {self.resource} {self.why}"
        )


@dataclass
class Decision:
    allowed: bool
    why: str = ""
    explicit: bool = False
    sort: str = ""
    statements: list = field(default_factory=list)
    by: str = ""  # the policy and statement that decided


def decide(context: EvalContext, layers: list[Layer]) -> Decision:
    """AWS's order: an explicit deny anywhere, then an allow in every layer, the identity's own policies first."""
    action = context.action
    for layer in layers:
        statement = iam_evaluator._first_match(context, layer.statements, "Deny")
        if statement:
            why = f"with an explicit deny in {article(layer.sort)}"
            return Decision(False, why, True, layer.sort, [statement], identities.origin(statement))
    matched = []
    for layer in layers:
        statement = iam_evaluator._first_match(context, layer.statements, "Allow")
        if not statement:
            return Decision(False, f"because no {layer.sort} allows the {action} action", False, layer.sort)
        matched.append(statement)
    return Decision(True, statements=matched[:1], by=identities.origin(matched[0]))


def article(sort: str) -> str:
    return f"an {sort}" if sort[0] in "aeiou" else f"a {sort}"


def _flat(policies: list[list]) -> list:
    return [statement for statements in policies for statement in statements]


def layers_of(key: str, account: str, principal) -> list[Layer]:
    from ministack.services import sts

    limits = list(principal.limits)
    session = sts._sessions.get(key) or {}
    found = [Layer("identity-based policy", _flat(principal.policies))]
    sessions = [limits.pop()] if session.get("SessionPolicies") is not None else []
    found += [Layer("permissions boundary", _flat(limit)) for limit in limits]
    found += [Layer("session policy", _flat(limit)) for limit in sessions]
    return found


def context(
    check: Check, arn: str, kind: str, account: str, keys: dict[str, Any], given: dict[str, Any] | None = None
) -> EvalContext:
    return EvalContext(
        principal_arn=arn,
        principal_type=kind,
        principal_account=account,
        action=check.action,
        resource_arn=check.resource,
        region=check.request.region,
        service_context=Keys(check, keys, given),
        principal_keys=keys,
    )


_GLOBAL = {
    "aws:principalarn",
    "aws:principalaccount",
    "aws:principaltype",
    "aws:currenttime",
    "aws:epochtime",
    "aws:requestedregion",
    "aws:securetransport",
    "aws:sourceip",
    "aws:resourceaccount",
    "aws:principalorgid",
    "aws:userid",
    "aws:username",
    "aws:tokenissuetime",
    "aws:useragent",
    "aws:sourceidentity",
}


# The account's time, which a test may skip; ministack's is the machine's.
_TIMES = {
    "aws:currenttime": lambda: datetime.fromtimestamp(clock.now(), UTC).isoformat(),
    "aws:epochtime": lambda: str(int(clock.now())),
}


def _owner(arn: str) -> str | None:
    from ministack.services import s3

    return s3._bucket_owner_account(arn.split(":")[5].partition("/")[0])


def _keys() -> None:
    """Condition keys of our checks come from authorization.value; everything else stays ministack's."""
    resolve = iam_evaluator._resolve_condition_key

    def resolved(key: str, ctx: EvalContext):
        keys = ctx.service_context
        if key.lower() in ("aws:resourceaccount", "s3:resourceaccount") and ctx.resource_arn.startswith("arn:aws:s3:"):
            return _owner(ctx.resource_arn) or ctx.principal_account  # a bucket's ARN names no account
        if not isinstance(keys, Keys):
            return resolve(key, ctx)
        name = key.lower()
        if keys.given is not None:  # a simulation: only what was given, and what every request has
            if name in keys.given:
                return keys.given[name]
            if name in _TIMES:
                return _TIMES[name]()
            if name in ctx.principal_keys or name in ("aws:principalarn", "aws:principalaccount", "aws:principaltype"):
                return resolve(key, ctx)
            keys.missing.append(key)
            return None
        if name in _TIMES:
            return _TIMES[name]()
        if name in ctx.principal_keys or name.startswith("aws:principaltag/"):
            return ctx.principal_keys.get(name)
        if name == "aws:useragent":
            return "rehearsal"
        if name == "aws:sourceidentity":
            return None
        if name in _GLOBAL:
            return resolve(key, ctx)
        return authorization.value(keys.check, key)

    iam_evaluator._resolve_condition_key = resolved

    principal_keys = iam_evaluator._principal_keys

    def with_source_identity(credential):
        from ministack.services import sts

        found = principal_keys(credential)
        identity = (sts._sessions.get(credential.access_key_id) or {}).get("SourceIdentity")
        if identity:
            found["aws:sourceidentity"] = identity
        return found

    iam_evaluator._principal_keys = with_source_identity
    from ministack.services import sts

    sts._principal_keys = with_source_identity


def _enforcement() -> None:
    extract, enforce, denied_response = (
        iam_actions.extract_resource_arn,
        iam_evaluator.enforce,
        iam_actions.access_denied_response,
    )

    def extracted(service, method, path, headers, body, query_params, region, account_id):
        prefix = iam_actions.SERVICE_TO_IAM_NAMESPACE.get(service, service)
        _request.set(None)
        if prefix in authorization.GOVERNED:
            name = (iam_actions.extract_iam_action(service, method, path, headers, body, query_params) or "").partition(
                ":"
            )[2]
            given = trail.parameters(
                headers,
                body,
                {key: value if isinstance(value, list) else [value] for key, value in query_params.items()},
            )
            _request.set(Request(prefix, name, given, account_id, region))
            return "*"
        return extract(service, method, path, headers, body, query_params, region, account_id)

    def by_ministack(access_key_id, iam_action, *given, **named):
        """A service whose requests ministack authorises by itself."""
        result = enforce(access_key_id, iam_action, *given, **named)
        if result is None:
            root = iam_evaluator.is_root_access_key(access_key_id)
            asked(iam_action, _matched.get())
            because("root" if root else _matched.get() or "policy of the resource")
        elif isinstance(result, EvalResult):
            because(f"{iam_action}: {'with an explicit deny' if result.decision == 'Deny' else 'nothing allows it'}")
        _matched.set("")
        return result

    def enforced(access_key_id, iam_action, service, region, resource_arn="*", service_context=None):
        from ministack.core.responses import get_account_id

        request = _request.get()
        if request is None or f"{request.service}:{request.action}" != iam_action:
            return by_ministack(
                access_key_id, iam_action, service, region, resource_arn=resource_arn, service_context=service_context
            )
        _request.set(None)
        account = get_account_id()
        if iam_evaluator._anonymous.get():
            return enforce(
                access_key_id, iam_action, service, region, resource_arn=resource_arn, service_context=service_context
            )
        checked = iam_evaluator.authenticate(access_key_id or "", account)
        if isinstance(checked, iam_evaluator.AuthError):
            return checked
        if iam_action in iam_evaluator._ALWAYS_ALLOWED_ACTIONS:
            because("needs no permission")
            return None
        principal = iam_evaluator.resolve_principal(access_key_id or "", account, checked)
        if isinstance(principal, iam_evaluator.AuthError):
            return principal
        if principal.policies is None:
            because("root")
            return None
        refusal = refused(request, principal, layers_of(access_key_id, account, principal))
        if refusal is None:
            return None
        _refusal.set(refusal)
        because(refusal.told)
        return EvalResult("ImplicitDeny", principal_arn=principal.arn)

    def answered(service, action, principal_arn, request_id, **options):
        refusal = _refusal.get()
        _refusal.set(None)
        if refusal is None or options.get("error_code"):
            return denied_response(service, action, principal_arn, request_id, **options)
        if refusal.unknown:
            from account import faults

            log.error("%s", refusal.unknown)
            kind, body = faults.body_of(service, options.get("headers") or {}, "InternalFailure", refusal.unknown)
            return 500, {"Content-Type": kind, "x-amzn-errortype": "InternalFailure"}, body
        message = refusal.message
        if refusal.action.startswith("kms:") and service == "secretsmanager":
            message = "Access to KMS is not allowed"
        if refusal.action.startswith("kms:") and service == "rds":
            from account import faults

            code = "KMSKeyNotAccessibleFault"
            message = (
                f"The specified KMS key [{refusal.resource}] does not exist, is not enabled or you do not have "
                "permissions to access it."
            )
            kind, body = faults.body_of(service, options.get("headers") or {}, code, message)
            return 400, {"Content-Type": kind}, body
        if service == "ec2":
            message = f"You are not authorized to perform this operation. {message}"
        if service in ("ssm", "logs"):
            body = json.dumps({"__type": "AccessDeniedException", "Message": message}).encode()
            return 400, {"Content-Type": "application/x-amz-json-1.1"}, body
        status, headers, body = denied_response(
            service, action, principal_arn, request_id, **{**options, "message": message}
        )
        return (
            (400 if status == 403 and iam_actions._SERVICE_PROTOCOL.get(service, "json") == "json" else status),
            headers,
            body,
        )

    evaluate = iam_evaluator.evaluate

    def evaluated(ctx, policies, *limits):
        result = evaluate(ctx, policies, *limits)
        if result.decision == "Allow":
            found = iam_evaluator._first_match(ctx, _flat(policies), "Allow")
            _matched.set(identities.origin(found))
        return result

    iam_evaluator.evaluate = evaluated
    iam_actions.extract_resource_arn = extracted
    iam_evaluator.enforce = enforced
    iam_actions.access_denied_response = answered


# Organization policies: (the principal's account, action, resource) -> whether one denies it. They hold for root, too:
# https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html
organization: list[Callable[[str, str, str], bool]] = []


def by_organization(account: str, action: str, resource: str) -> Decision | None:
    """The denial of a service control policy, None without one."""
    if any(denies(account, action, resource) for denies in organization):
        sort = "service control policy"
        return Decision(False, f"with an explicit deny in {article(sort)}", True, sort, by=f"organization / {action}")
    return None


def refused(
    request: Request,
    principal,
    layers: list[Layer],
    told: Callable[[Check, Decision], None] | None = None,
    passed_to: str = "",
) -> Refusal | None:
    """The first of the request's checks that the policies do not allow; None when all are. Each is told to `told`,
    instead of the call log's entry of the request over HTTP. `passed_to` is the service that a bare iam:PassRole is for.
    """
    from account import keys

    action, allowed = f"{request.service}:{request.action}", []
    try:
        for check in authorization.checks(request):
            if passed_to and check.action == "iam:PassRole":
                check.extra = {"iam:passedtoservice": passed_to}
            ctx = context(check, principal.arn, principal.type, principal.account, principal.keys)
            denial = by_organization(principal.account, check.action, check.resource)
            decision = denial or decide(ctx, layers)
            if check.service == "kms" and check.kind == "key" and not decision.explicit:
                decision = keys.decided(check, ctx, layers, decision)
            elif not decision.explicit:
                decision = _with_resource_policy(check, ctx, layers, decision)
            if told is not None:
                told(check, decision)
            else:
                asked(check.action, decision.by)
            if not decision.allowed:
                return Refusal(check.action, principal.arn, _shown(check), decision.why, by=decision.by)
            allowed.append(decision.by)
    except Unknown as unknown:
        return Refusal(action, principal.arn, "*", unknown=str(unknown))
    if told is None:
        because(", ".join(dict.fromkeys(allowed)))
    return None


def asked(action: str, by: str) -> None:
    """Tell the call log what decided one of the questions to the policies."""
    call = trail.current.get()
    if call is not None and [action, by] not in call.checks:
        call.checks.append([action, by])


def because(why: str) -> None:
    """Tell the call log what decided the call over HTTP that is being answered."""
    call = trail.current.get()
    if call is not None:
        call.why = why


def _shown(check: Check) -> str:
    if check.action == "secretsmanager:CreateSecret":
        return check.request.given.get("Name", "*")
    return check.resource


def _with_resource_policy(check: Check, ctx: EvalContext, layers: list[Layer], decision: Decision) -> Decision:
    """A policy on the resource itself (a secret's, a repository's) may deny what the caller's own policies allow, and
    allow what they do not mention.
    """
    found = iam_evaluator._resource_policy(check.service, check.resource)
    if found is None:
        return decision
    if not found[0]:
        if decision.allowed and check.resource.split(":")[4] not in ("", ctx.principal_account):
            why = f"because no resource-based policy allows the {check.action} action"
            return Decision(False, why, False, "resource-based policy")
        return decision
    identity = EvalResult("Allow" if decision.allowed else "ImplicitDeny", ctx.principal_arn)
    limits = [[layer.statements] for layer in layers[1:]]
    result = iam_evaluator.combine_resource_policy(identity, ctx, *found, limits=limits)
    sort, by = "resource-based policy", f"policy of {check.resource}"
    if result.decision == "Deny":
        return Decision(False, f"with an explicit deny in {article(sort)}", True, sort, by=by)
    if result.decision == "Allow":
        return decision if decision.allowed else Decision(True, by=by)
    if decision.allowed:  # the resource is another account's, which has to allow it, too
        return Decision(False, f"because no {sort} allows the {check.action} action", False, sort)
    return decision


# ---------------------------------------------------------------- sts:AssumeRole

CHAINED_SECONDS = 3600
# AWS says that it packs session policies and tags, and how full that is, but neither how nor how much room there is:
# https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html. Here deflate does it, into one kilobyte.
PACKED_BYTES = 1024


def _packed_percent(given: dict) -> int:
    tags = authorization.listed_tags(given)
    arns = authorization.listed(given, "PolicyArns")
    text = "".join([given.get("Policy", ""), *arns, *tags, *tags.values()])
    return -(-100 * len(zlib.compress(text.encode(), 9)) // PACKED_BYTES) if text else 0


def _assume_role() -> None:
    from ministack.core.responses import get_region
    from ministack.core.router import extract_access_key_id
    from ministack.services import iam, sts

    handle = sts.handle_request

    async def handled(method, path, headers, body, query_params):
        given = trail.parameters(headers, body, query_params)
        action = given.get("Action") or headers.get("x-amz-target", "").rpartition(".")[2]
        if action != "AssumeRole":
            return await handle(method, path, headers, body, query_params)
        role_arn, name = given.get("RoleArn", ""), given.get("RoleSessionName", "")
        key = extract_access_key_id(headers, query_params) or ""
        session = sts._sessions.get(key) or {}
        refused = _bad_parameters(given, name)
        if refused:
            return sts._error(400, "ValidationError", escape(refused), ns="sts")
        parts = role_arn.split(":")
        role = identities.seen("role", parts[4], role_arn.rpartition("/")[2]) if len(parts) == 6 else None
        seconds = int(given.get("DurationSeconds") or 3600)
        packed = _packed_percent(given)
        if packed > 100:
            message = f"Packed policy consumes {packed}% of allotted space, please use smaller policy."
            return sts._error(400, "PackedPolicyTooLarge", message, ns="sts")
        _, caller, _ = trail.caller(key)
        if role is None or role["Arn"] != role_arn:
            because(f"there is no role {role_arn}")
            message = f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
            return sts._error(403, "AccessDenied", escape(message), ns="sts")
        if ":assumed-role/" in caller and seconds > CHAINED_SECONDS:
            message = (
                "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
            )
            return sts._error(400, "ValidationError", message, ns="sts")
        identity = given.get("SourceIdentity") or session.get("SourceIdentity")
        if session.get("SourceIdentity") and identity != session["SourceIdentity"]:
            message = f"User: {caller} is not authorized to perform: sts:SetSourceIdentity on resource: {role_arn}"
            return sts._error(403, "AccessDenied", escape(message), ns="sts")
        token = _trust.set(given | ({"SourceIdentity": identity} if identity else {}))
        try:
            status, answer_headers, answer = await handle(method, path, headers, body, query_params)
            if status == 403:  # enforce had allowed it, and told the log so
                because(f"the trust policy of {role_arn} does not allow it")
            if status != 200:
                return status, answer_headers, answer
            if identity and not _trusts(role, caller, role_arn, "sts:SetSourceIdentity", given, key, get_region()):
                _forget(sts, answer)
                message = f"User: {caller} is not authorized to perform: sts:SetSourceIdentity on resource: {role_arn}"
                return sts._error(403, "AccessDenied", escape(message), ns="sts")
            if seconds > int(role.get("MaxSessionDuration") or 3600):
                _forget(sts, answer)
                message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
                return sts._error(400, "ValidationError", message, ns="sts")
        finally:
            _trust.reset(token)
        made = sts._sessions[_new_key(answer)]
        passed = {
            tag["Key"]: tag
            for tag in session.get("SessionTags") or []
            if tag["Key"] in session.get("TransitiveTagKeys", [])
        }
        own = {tag["Key"]: tag for tag in made.get("SessionTags") or []}
        made["SessionTags"] = list((own | passed).values())
        made["TransitiveTagKeys"] = list(passed) + authorization.listed(given, "TransitiveTagKeys")
        text = answer.decode() if isinstance(answer, bytes) else answer
        text = text.replace("<PackedPolicySize>0<", f"<PackedPolicySize>{packed}<")
        if identity:
            made["SourceIdentity"] = identity
            text = text.replace(
                "<AssumedRoleUser>", f"<SourceIdentity>{escape(identity)}</SourceIdentity><AssumedRoleUser>", 1
            )
        return status, answer_headers, text.encode()

    sts.handle_request = handled


# What the trust policy may ask of the AssumeRole that is being decided.
_trust: contextvars.ContextVar[dict | None] = contextvars.ContextVar("rehearsal_trust", default=None)


def _trust_conditions() -> None:
    evaluate = iam_evaluator.evaluate_trust_policy

    def evaluated(document, caller, ctx=None):
        given = _trust.get()
        if ctx is not None and given is not None:
            request = Request("sts", "AssumeRole", given, ctx.principal_account, ctx.region)
            check = Check(ctx.action, ctx.resource_arn, "role", request)
            ctx.service_context = Keys(check, ctx.principal_keys)
            parts = given.get("RoleArn", "").split(":")
            role = identities.seen("role", parts[4], parts[5].rpartition("/")[2]) if len(parts) == 6 else None
            document = (role or {}).get("AssumeRolePolicyDocument", document)
        return evaluate(document, caller, ctx)

    iam_evaluator.evaluate_trust_policy = evaluated


def _trusts(role: dict, caller: str, role_arn: str, action: str, given: dict, key: str, region: str) -> bool:
    from ministack.services import sts

    principal = sts._caller_identity(
        {"authorization": f"AWS4-HMAC-SHA256 Credential={key}/20200101/{region}/sts/aws4_request"}
    )
    if not isinstance(principal, dict):
        return False
    ctx = EvalContext(
        principal_arn=caller,
        principal_type=principal["principalType"],
        principal_account=principal["accountId"],
        action=action,
        resource_arn=role_arn,
        region=region,
        principal_keys=principal["principalKeys"],
    )
    return iam_evaluator.evaluate_trust_policy(role.get("AssumeRolePolicyDocument", "{}"), caller, ctx)


def _violates(what: str, must: str) -> str:
    return f"1 validation error detected: Value {what} failed to satisfy constraint: Member must {must}"


def _bad_parameters(given: dict, name: str) -> str:
    if not re.fullmatch(r"[\w+=,.@-]{2,64}", name, re.ASCII):
        return _violates(f"'{name}' at 'roleSessionName'", "satisfy regular expression pattern: [\\w+=,.@-]{2,64}")
    seconds = given.get("DurationSeconds")
    if seconds is not None and not 900 <= int(seconds) <= 43200:
        bound = "greater than or equal to 900" if int(seconds) < 900 else "less than or equal to 43200"
        return _violates(f"'{seconds}' at 'durationSeconds'", f"have value {bound}")
    external = given.get("ExternalId")
    if external is not None and not re.fullmatch(r"[\w+=,.@:/\\-]{2,1224}", external, re.ASCII):
        return _violates("at 'externalId'", "satisfy regular expression pattern: [\\w+=,.@:\\/-]*")
    identity = given.get("SourceIdentity")
    if identity is not None and not re.fullmatch(r"[\w+=,.@-]{2,64}", identity, re.ASCII):
        return _violates("at 'sourceIdentity'", "satisfy regular expression pattern: [\\w+=,.@-]*")
    if any(name.lower().startswith("aws:") for name in authorization.listed_tags(given)):
        return _violates("at 'tags'", "not have keys that begin with aws:")
    if len(authorization.listed_tags(given)) > 50:
        return _violates("at 'tags'", "have length less than or equal to 50")
    return ""


def _new_key(answer) -> str:
    text = answer.decode() if isinstance(answer, bytes) else answer
    found = re.search(r"<AccessKeyId>([^<]+)<|\"AccessKeyId\":\s*\"([^\"]+)\"", text)
    return found[1] or found[2] if found else ""


def _forget(sts, answer) -> None:
    sts._sessions.pop(_new_key(answer), None)


# ---------------------------------------------------------------- iam:SimulatePrincipalPolicy

PAGE = 100


def _simulate(params: dict) -> tuple:
    from ministack.core.responses import get_account_id, get_region
    from ministack.services import iam

    given = {name: value[0] if isinstance(value, list) else value for name, value in params.items()}
    source, account = given.get("PolicySourceArn", ""), get_account_id()
    match = re.fullmatch(rf"arn:aws:iam::{account}:(user|role)/(?:.*/)?([^/]+)", source)
    if not match:
        return iam._error(
            400,
            "InvalidInput",
            f"Invalid Entity Arn: {escape(source)} does not clearly define entity type and name.",
            ns="iam",
        )
    kind, name = match.groups()
    store = iam._roles if kind == "role" else iam._users
    record = store.get(name)
    if record is None or record["Arn"] != source:
        return iam._error(404, "NoSuchEntity", f"The {kind} with name {escape(name)} cannot be found.", ns="iam")
    gather = identities.of_role if kind == "role" else identities.of_user
    layers = [Layer("identity-based policy", _flat(gather(name, account, now=True)))]
    layers[0].statements += _flat(
        [iam_evaluator.parse_policy_document(doc) for doc in authorization.listed(given, "PolicyInputList")]
    )
    boundaries = authorization.listed(given, "PermissionsBoundaryPolicyInputList")
    limits = (
        [[iam_evaluator.parse_policy_document(doc) for doc in boundaries]]
        if boundaries
        else iam_evaluator._permissions_boundary(store, name, account)
    )
    layers += [Layer("permissions boundary", _flat(limit)) for limit in limits]
    entries: dict[str, Any] = {}
    for position in sorted({int(m[1]) for key in given if (m := re.match(r"ContextEntries\.member\.(\d+)\.", key))}):
        prefix = f"ContextEntries.member.{position}"
        values = authorization.listed(given, f"{prefix}.ContextKeyValues")
        several = given.get(f"{prefix}.ContextKeyType", "string").endswith("List")
        entries[given.get(f"{prefix}.ContextKeyName", "").lower()] = values if several else (values or [""])[0]
    results = []
    for action in authorization.listed(given, "ActionNames"):
        if not re.fullmatch(r"[a-z0-9-]+:[A-Za-z]+", action):
            return iam._error(400, "InvalidInput", f"Invalid action name: {escape(action)}", ns="iam")
        for resource in authorization.listed(given, "ResourceArns") or ["*"]:
            request = Request(action.partition(":")[0], action.partition(":")[2], {}, account, get_region())
            ctx = context(Check(action, resource, "", request), source, kind.title(), account, {}, entries)
            decision = decide(ctx, layers)
            # All that the policies ask for this action and resource and that was not given, whatever was decided.
            missing = sorted(
                {
                    key
                    for layer in layers
                    for key in _asked(ctx, layer.statements)
                    if key.lower() not in entries and key.lower() not in _GLOBAL
                }
            )
            results.append(_result(action, resource, decision, missing, len(layers) > 1))
    start = int(given.get("Marker") or 0)
    size = min(int(given.get("MaxItems") or PAGE), 1000)
    page = "".join(results[start : start + size])
    more = start + size < len(results)
    return iam._xml(
        200,
        "SimulatePrincipalPolicyResponse",
        f"<SimulatePrincipalPolicyResult><EvaluationResults>{page}</EvaluationResults>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        + (f"<Marker>{start + size}</Marker>" if more else "")
        + "</SimulatePrincipalPolicyResult>",
        ns="iam",
    )


def _asked(ctx: EvalContext, statements: list) -> set[str]:
    """The condition keys of the statements that are about this action and resource."""
    return {
        key
        for statement in statements
        if iam_evaluator._action_matches(ctx.action, statement.actions, statement.not_actions)
        and iam_evaluator._resource_matches(ctx.resource_arn, statement.resources, statement.not_resources)
        for block in statement.conditions.values()
        if isinstance(block, dict)
        for key in block
    }


def _result(action: str, resource: str, decision: Decision, missing: list[str], bounded: bool) -> str:
    def members(values) -> str:
        return "".join(f"<member>{value}</member>" for value in values)

    word = "allowed" if decision.allowed else "explicitDeny" if decision.explicit else "implicitDeny"
    matched = members(
        f"<SourcePolicyId>{escape(statement.sid or 'policy')}</SourcePolicyId>"
        "<SourcePolicyType>IAM Policy</SourcePolicyType>"
        for statement in decision.statements
    )
    asked = members(escape(key) for key in missing)
    why = f"<MatchedStatements>{matched}</MatchedStatements><MissingContextValues>{asked}</MissingContextValues>"
    name = f"<EvalResourceName>{escape(resource)}</EvalResourceName>"
    specific = members([f"{name}<EvalResourceDecision>{word}</EvalResourceDecision>{why}"])
    inside = str(decision.sort != "permissions boundary").lower()
    boundary = f"<AllowedByPermissionsBoundary>{inside}</AllowedByPermissionsBoundary>" if bounded else ""
    if boundary:
        boundary = f"<PermissionsBoundaryDecisionDetail>{boundary}</PermissionsBoundaryDecisionDetail>"
    return members(
        [
            f"<EvalActionName>{action}</EvalActionName>{name}<EvalDecision>{word}</EvalDecision>{why}{boundary}"
            f"<ResourceSpecificResults>{specific}</ResourceSpecificResults>"
        ]
    )


# ---------------------------------------------------------------- what every account has, and IAM's own refusals

LINKED_ROLES = {
    "ecs.amazonaws.com": "AWSServiceRoleForECS",
    "rds.amazonaws.com": "AWSServiceRoleForRDS",
    "elasticloadbalancing.amazonaws.com": "AWSServiceRoleForElasticLoadBalancing",
    "ecs.application-autoscaling.amazonaws.com": "AWSServiceRoleForApplicationAutoScaling_ECSService",
    "elasticache.amazonaws.com": "AWSServiceRoleForElastiCache",
}


def seed() -> None:
    """AWS's managed policies with their real documents."""
    from ministack.services import iam

    for name, policy in json.loads((_HERE / "managed-policies.json").read_text()).items():
        record = iam._make_aws_managed_record(name, json.dumps(policy["document"]))
        version = record["Versions"].pop("v1")
        version["VersionId"] = record["DefaultVersionId"] = policy["version"]
        record["Versions"][policy["version"]] = version
        iam._aws_managed_policies[record["Arn"]] = record


def _iam_refusals() -> None:
    from ministack.services import iam

    def attach(name: str):
        inner = iam._IAM_HANDLERS[name]

        def call(params):
            arn = iam._p(params, "PolicyArn")
            if not iam._policy_exists(arn):
                return iam._error(
                    404, "NoSuchEntity", f"Policy {escape(arn)} does not exist or is not attachable.", ns="iam"
                )
            return inner(params)

        iam._IAM_HANDLERS[name] = call

    for name in ("AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy"):
        attach(name)
    create = iam._create_service_linked_role

    def linked(params):
        service = iam._p(params, "AWSServiceName")
        role = LINKED_ROLES.get(service)
        if role is None:
            return iam._error(
                400, "InvalidInput", f"{escape(service)} is not a service that has a service-linked role here", ns="iam"
            )
        if role in iam._roles:
            return iam._error(
                400,
                "InvalidInput",
                f"Service role name {role} has been taken in this account, please try a different suffix.",
                ns="iam",
            )
        answer = create(params)
        made = next((one for one in iam._roles.values() if one["Path"] == f"/aws-service-role/{service}/"), None)
        if answer[0] >= 400 or made is None:
            return answer
        iam._roles.pop(made["RoleName"], None)
        made.update(RoleName=role, Arn=f"arn:aws:iam::{iam.get_account_id()}:role{made['Path']}{role}")
        iam._roles[role] = made
        return iam._xml(
            200,
            "CreateServiceLinkedRoleResponse",
            f"<CreateServiceLinkedRoleResult><Role>{iam._role_xml(role)}</Role></CreateServiceLinkedRoleResult>",
            ns="iam",
        )

    iam._create_service_linked_role = iam._IAM_HANDLERS["CreateServiceLinkedRole"] = linked
    iam._IAM_HANDLERS["SimulatePrincipalPolicy"] = _simulate


def _secure_transport() -> None:
    """Loopback HTTP stands for HTTPS here: policies that demand aws:SecureTransport are satisfied."""
    from ministack import app

    pin = iam_evaluator.pin_request_origin
    iam_evaluator.pin_request_origin = lambda ip, tls: pin(ip, True)
    if hasattr(app, "pin_request_origin"):
        app.pin_request_origin = iam_evaluator.pin_request_origin


def _s3_headers() -> None:
    """What S3 refuses for a request's headers.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html,
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
    """
    from ministack.services import s3

    handle = s3.handle_request

    async def handled(method, path, headers, body, query_params, **named):
        expected = headers.get("x-amz-expected-bucket-owner")
        owner = s3._bucket_owner_account(s3._parse_bucket_key(path, headers)[0])
        if expected and owner not in (None, expected):
            return s3._error("AccessDenied", "Access Denied", 403, path)
        signed = s3._qp(query_params, "X-Amz-SignedHeaders", "")
        unsigned = [name for name in headers if name.startswith("x-amz-") and name not in signed.split(";")]
        if signed and unsigned:
            message = "There were headers present in the request which were not signed"
            return s3._error("AccessDenied", message, 403, path, extra={"HeadersNotSigned": ", ".join(unsigned)})
        return await handle(method, path, headers, body, query_params, **named)

    s3.handle_request = handled


VARIABLE = re.compile(r"\$\{([^}]*)\}")


def _variables() -> None:
    """Policy variables in conditions; one that the request has no value for, and no default, matches nothing:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
    """
    met = iam_evaluator._conditions_met

    def value(written: str, ctx: EvalContext) -> str:
        key, _, default = (part.strip() for part in written.partition(","))
        found = written if written in ("*", "?", "$") else iam_evaluator._resolve_condition_key(key, ctx)
        if not isinstance(found, str) and not default:
            raise LookupError(key)
        return found if isinstance(found, str) else default.strip("'")

    def substituted(expected: Any, ctx: EvalContext) -> Any:
        if isinstance(expected, list):
            return [substituted(one, ctx) for one in expected]
        return VARIABLE.sub(lambda one: value(one[1], ctx), expected) if isinstance(expected, str) else expected

    def resolved(conditions: dict, ctx: EvalContext) -> bool:
        try:
            return met(
                {
                    operator: {key: substituted(expected, ctx) for key, expected in keys.items()}
                    for operator, keys in (conditions or {}).items()
                },
                ctx,
            )
        except LookupError:
            return False

    iam_evaluator._conditions_met = resolved


def install() -> None:
    _keys()
    _variables()
    _enforcement()
    _assume_role()
    _trust_conditions()
    _iam_refusals()
    _secure_transport()
    _s3_headers()
    seed()


def reset() -> None:
    pass


def stop() -> None:
    pass
