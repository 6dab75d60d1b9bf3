"""Secrets Manager as ministack has it, with AWS's refusals of what would change a value or a name that is kept."""

import json

from ministack.core.responses import error_response_json, json_response
from ministack.services import secretsmanager


def _put(given):
    """A version is written once: the same again is ignored, another value for it is refused.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    """
    _, secret = secretsmanager._resolve(given.get("SecretId"))
    token = given.get("ClientRequestToken")
    there = secret and not secret.get("DeletedDate") and secret["Versions"].get(token)
    if not there:
        return None
    if any(there.get(kind) != given.get(kind) for kind in ("SecretString", "SecretBinary")):
        return error_response_json(
            "ResourceExistsException",
            f"You can't use ClientRequestToken {token} because that value is already in use for a version of secret "
            f"{secret['ARN']}.",
            400,
        )
    answer = {"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token, "VersionStages": list(there["Stages"])}
    return json_response(answer)


def _labelled(given, answer):
    """A version gets every label that it is written with, AWSCURRENT or not; what another one had is taken from it.
    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    """
    if answer[0] != 200:
        return answer
    _, secret = secretsmanager._resolve(given["SecretId"])
    said = json.loads(answer[2])
    version = secret["Versions"][said["VersionId"]]
    labels = [label for label in given.get("VersionStages") or [] if label not in ("AWSCURRENT", "AWSPREVIOUS")]
    for other in secret["Versions"].values():
        if other is not version:
            other["Stages"] = [stage for stage in other["Stages"] if stage not in labels]
    for label in labels:
        if label not in version["Stages"]:
            version["Stages"].append(label)
            secretsmanager._emit_secret_label_updated(secret, label, said["VersionId"])
    secretsmanager._sync_replicas(secret)
    return json_response(said | {"VersionStages": list(version["Stages"])})


def _create(given):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_DeleteSecret.html: a name is free again when
    its secret's recovery window is over. The same request with the same token is ignored.
    """
    there = secretsmanager._secrets.get(given.get("Name"))
    if not there:
        return None
    if not there.get("DeletedDate"):
        token = given.get("ClientRequestToken")
        version = there["Versions"].get(token)
        if version and all(version.get(kind) == given.get(kind) for kind in ("SecretString", "SecretBinary")):
            return json_response({"ARN": there["ARN"], "Name": there["Name"], "VersionId": token})
        return None
    return error_response_json(
        "InvalidRequestException",
        "You can't create this secret because a secret with this name is already scheduled for deletion.",
        400,
    )


def _named_by_token(given, answer):
    """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html: the token becomes the
    version's id; without a value there is no version.
    """
    if answer[0] != 200:
        return answer
    secret = secretsmanager._secrets[given["Name"]]
    if given.get("SecretString") is None and given.get("SecretBinary") is None:
        secret["Versions"].clear()
        return json_response({"ARN": secret["ARN"], "Name": secret["Name"]})
    token = given.get("ClientRequestToken")
    if token is None:
        return answer
    secret["Versions"] = {token: version for version in secret["Versions"].values()}
    return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": token})


def install() -> None:
    create, put = secretsmanager._create_secret, secretsmanager._put_secret_value
    secretsmanager._create_secret = lambda given: _create(given) or _named_by_token(given, create(given))
    secretsmanager._put_secret_value = lambda given: _put(given) or _labelled(given, put(given))


def reset() -> None:
    pass


def stop() -> None:
    pass
