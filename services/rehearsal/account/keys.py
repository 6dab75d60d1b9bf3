"""KMS keys decide: by their own policy, which identity policies need too, and by grants; and what a key that is
disabled, about to be deleted or gone makes unreadable.

ministack keeps the keys, encrypts and keeps grants. Here: who may use a key, also through Secrets Manager, Parameter
Store and RDS, which use it with the caller's rights; RDS's grant for an instance; keys that end when their waiting
period is over.
"""

import base64
import json
from typing import Any

from account import clock
from account.authorization import Check, Request
from ministack.core import iam_evaluator
from ministack.core.iam_evaluator import EvalContext, EvalResult
from ministack.core.responses import error_response_json, get_account_id, get_region, request_scope
from ministack.services import kms, rds, secretsmanager, ssm

INSTANCES = ("CreateDBInstance", "RestoreDBInstanceFromDBSnapshot")
OWN = ("", "alias/aws/secretsmanager", "alias/aws/ssm", "alias/aws/rds")  # AWS's keys let the service's callers in
NO_ACCESS = "Access to KMS is not allowed"  # what Secrets Manager says, whichever right is missing


def _place(named: str) -> tuple[str, str]:
    parts = named.split(":")
    return (parts[4], parts[3]) if len(parts) >= 6 else (get_account_id(), get_region())


def record(named: str | None) -> dict | None:
    """A key by id, ARN or alias; None when there is none (any more)."""
    if not named:
        return None
    with request_scope(*_place(named)):
        return kms._resolve_key(named)


def customers(named: str | None) -> str:
    """ARN of the customer's key that is named; '' for AWS's own keys."""
    named = named or ""
    if named.rpartition(":")[2] in OWN:
        return ""
    found = record(named)
    return found["Arn"] if found else arn_of(named, None)


def arn_of(named: str, request: Request | None) -> str:
    found = record(named)
    if found:
        return found["Arn"]
    account, region = (request.account, request.region) if request else (get_account_id(), get_region())
    kind = "" if named.startswith("alias/") else "key/"
    return named if named.startswith("arn:") else f"arn:aws:kms:{region}:{account}:{kind}{named}"


def of_ciphertext(blob: str) -> str:
    """Which key a ciphertext names."""
    try:
        return base64.b64decode(blob)[:36].decode()
    except ValueError:
        return ""


# Who may ----------------------------------------------------------------------------------------------------------


def granted(check_arn: str, operation: str, principal: str, context: dict[str, str]) -> str:
    """The grant that lets a principal, '' when none does.
    https://docs.aws.amazon.com/kms/latest/developerguide/grants.html
    """
    names = {principal}
    if ":assumed-role/" in principal:
        account, role = principal.split(":")[4], principal.split("/")[1]
        names.add(f"arn:aws:iam::{account}:role/{role}")
    with request_scope(*_place(check_arn)):
        for grant in kms._grants.values():
            constraints = grant.get("Constraints") or {}
            subset, equals = constraints.get("EncryptionContextSubset"), constraints.get("EncryptionContextEquals")
            if (
                grant["KeyId"] == check_arn
                and grant["GranteePrincipal"] in names
                and operation in grant["Operations"]
                and (subset is None or subset.items() <= context.items())
                and (equals is None or equals == context)
            ):
                return grant["GrantId"]
    return ""


def decided(check: Check, ctx: EvalContext, layers: list, decision: Any) -> Any:
    """Identity policies count only where the key's policy lets the account have its say:
    https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-overview.html
    """
    from account.policy import Decision

    found = record(check.resource)
    if found is None:
        return decision
    identity = EvalResult("Allow" if decision.allowed else "ImplicitDeny", ctx.principal_arn)
    limits = [[layer.statements] for layer in layers[1:]]
    owner = check.resource.split(":")[4]
    result = iam_evaluator.combine_resource_policy(identity, ctx, found.get("Policy"), owner, True, limits)
    if result.decision == "Allow":
        return decision if decision.allowed else Decision(True, by=f"policy of {check.resource}")
    if result.decision == "Deny":
        return Decision(False, "with an explicit deny in a resource-based policy", True, "resource-based policy")
    grant = granted(check.resource, check.name, ctx.principal_arn, check.request.given.get("EncryptionContext") or {})
    if grant:
        return Decision(True, by=f"grant {grant}")
    why = f"because no resource-based policy allows the {check.action} action" if decision.allowed else decision.why
    return Decision(False, why)


def _through(request: Request, key: str, actions: tuple[str, ...], **extra: Any) -> list[Check]:
    """Checks on a key that a service uses with the caller's rights."""
    if not key:
        return []
    keys = {
        "kms:viaservice": f"{request.service}.{request.region}.amazonaws.com",
        "kms:calleraccount": request.account,
        **extra,
    }
    return [Check(f"kms:{action}", key, "key", request, keys) for action in actions]


def checks(request: Request) -> list[Check]:
    """What a call of another service needs on a customer's key.
    https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html,
    https://docs.aws.amazon.com/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html,
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html
    """
    action, given = request.action, request.given
    if request.service == "secretsmanager":
        _, secret = secretsmanager._resolve(given.get("SecretId")) if given.get("SecretId") else (None, None)
        key = customers(given.get("KmsKeyId") or (secret or {}).get("KmsKeyId"))
        context = {"kms:encryptioncontext:secretarn": (secret or {}).get("ARN")}
        if action == "GetSecretValue":
            return _through(request, key, ("Decrypt",), **context)
        writes = given.get("SecretString") is not None or given.get("SecretBinary") is not None or given.get("KmsKeyId")
        if action in ("CreateSecret", "PutSecretValue", "UpdateSecret") and writes:
            return _through(request, key, ("GenerateDataKey", "Decrypt"), **context)
    if request.service == "ssm":
        if action == "PutParameter" and given.get("Type") == "SecureString":
            return _through(request, customers(given.get("KeyId")), ("Encrypt",))
        if action in ("GetParameter", "GetParameters") and given.get("WithDecryption"):
            names = given.get("Names") or [given.get("Name", "")]
            found = [customers((ssm._parameters.get(name) or {}).get("KeyId")) for name in names]
            return [one for key in dict.fromkeys(found) for one in _through(request, key, ("Decrypt",))]
    if request.service == "rds" and action in INSTANCES:
        extra = {"kms:grantisforawsresource": "true"}
        key = given.get("KmsKeyId") if action == "CreateDBInstance" else _snapshots(given.get("DBSnapshotIdentifier"))
        return _through(request, customers(key), ("DescribeKey", "CreateGrant"), **extra)
    return []


# What a key's state does --------------------------------------------------------------------------------------------


def unusable(named: str | None) -> bool:
    key = customers(named)
    found = record(key) if key else None
    return bool(key) and (found is None or found["KeyState"] != "Enabled")


def _secrets() -> None:
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html (DecryptionFailure),
    API_PutSecretValue.html (EncryptionFailure)
    """

    def reading(inner):
        def call(given):
            _, secret = secretsmanager._resolve(given.get("SecretId"))
            if secret and not secret.get("DeletedDate") and unusable(secret.get("KmsKeyId")):
                message = "Secrets Manager can't decrypt the protected secret text using the provided KMS key."
                return error_response_json("DecryptionFailure", message, 400)
            return inner(given)

        return call

    def writing(inner):
        def call(given):
            _, secret = secretsmanager._resolve(given.get("SecretId")) if given.get("SecretId") else (None, None)
            if unusable(given.get("KmsKeyId") or (secret or {}).get("KmsKeyId")):
                message = (
                    "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that "
                    "the KMS key is available, enabled, and not in an invalid state."
                )
                return error_response_json("EncryptionFailure", message, 400)
            return inner(given)

        return call

    secretsmanager._get_secret_value = reading(secretsmanager._get_secret_value)
    secretsmanager._create_secret = writing(secretsmanager._create_secret)
    secretsmanager._put_secret_value = writing(secretsmanager._put_secret_value)
    secretsmanager._update_secret = writing(secretsmanager._update_secret)


def _snapshots(name: str | None) -> str | None:
    """The key of an instance that is restored from a snapshot."""
    from account import databases

    found = rds._snapshots.get((name or "").rpartition("snapshot:")[2].lower()) or {}
    key = found.get("KmsKeyId") or ""
    return None if key.endswith(databases._default_key()) else key


def _databases() -> None:
    """RDS keeps a grant on an instance's key for as long as the instance is there.
    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.Encryption.Keys.html
    """
    for action in INSTANCES:
        rds._ACTION_MAP[action] = _granted(action, rds._ACTION_MAP[action])


def _granted(action: str, inner):
    def create(params):
        asked_for = rds._p(params, "KmsKeyId")
        named = asked_for if action == "CreateDBInstance" else _snapshots(rds._p(params, "DBSnapshotIdentifier"))
        if unusable(named):
            message = (
                f"The specified KMS key [{customers(named)}] does not exist, is not enabled or you do not have "
                "permissions to access it."
            )
            return rds._error("KMSKeyNotAccessibleFault", message, 400)
        answer = inner(params)
        key = customers(named)
        if answer[0] == 200 and key:
            operations = ["Decrypt", "Encrypt", "GenerateDataKey", "DescribeKey", "CreateGrant", "RetireGrant"]
            name = params.get("DBInstanceIdentifier")
            asked = {
                "KeyId": key,
                "GranteePrincipal": "rds.amazonaws.com",
                "RetiringPrincipal": "rds.amazonaws.com",
                "Operations": operations,
                "Name": f"rds-{name[0] if isinstance(name, list) else name}",
            }
            kms._create_grant(asked)
        return answer

    return create


def _expiring() -> None:
    """A key is gone when its waiting period is over:
    https://docs.aws.amazon.com/kms/latest/APIReference/API_ScheduleKeyDeletion.html
    """
    resolve = kms._resolve_key

    def resolved(named):
        found = resolve(named)
        if found is not None and found.get("DeletionDate", float("inf")) <= clock.now():
            kms._keys.pop(found["KeyId"], None)  # another thread may have seen it, too
            return None
        return found

    kms._resolve_key = resolved
    schedule = kms._schedule_key_deletion

    def scheduled(data):
        found = kms._resolve_key(data.get("KeyId", ""))
        if found is not None and found["KeyState"] == "PendingDeletion":
            return error_response_json("KMSInvalidStateException", f"{found['Arn']} is pending deletion.", 400)
        return schedule(data)

    kms._schedule_key_deletion = scheduled


def _policies() -> None:
    """https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html: a policy that would lock everybody out
    is refused, and one that is no policy.
    """
    put = kms._put_key_policy

    def putting(data):
        try:
            statements = json.loads(data.get("Policy") or "").get("Statement")
        except (ValueError, AttributeError):
            statements = None
        if not isinstance(statements, list) or not statements:
            message = "Policy contains a statement that is not valid."
            return error_response_json("MalformedPolicyDocumentException", message, 400)
        text = json.dumps([one for one in statements if one.get("Effect") == "Allow"])
        if not data.get("BypassPolicyLockoutSafetyCheck") and not ("kms:*" in text or "kms:PutKeyPolicy" in text):
            message = "The new key policy will not allow you to update the key policy in the future."
            return error_response_json("MalformedPolicyDocumentException", message, 400)
        return put(data)

    kms._put_key_policy = putting


def install() -> None:
    _expiring()
    _policies()
    _secrets()
    _databases()


def reset() -> None:
    pass


def stop() -> None:
    pass
