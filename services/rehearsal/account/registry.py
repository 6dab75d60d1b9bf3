"""The registry's own protocol, at <account>.dkr.ecr.<region>.amazonaws.com: what `docker login` and `docker push` speak.

https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html,
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Each request is the ECR calls that it stands for
(https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html), with the rights of whoever asked for the
token, session policy included, as they are now. A token ends with the session that asked for it: AWS says twelve hours,
and not that it outlives its session.
"""

import base64
import contextvars
import json
import re
import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, quote

from account import clock, layers, policy, trail
from account.authorization import Request
from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region, json_response, request_scope
from ministack.core.router import extract_access_key_id
from ministack.services import ecr

HOST = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?(?::\d+)?")
PATH = re.compile(r"/v2/(.+)/(blobs/uploads|blobs|manifests)/([^/]*)")
TOKEN_SECONDS = 12 * 3600
# How the protocol calls ECR's errors: status, code. What is there already is well.
CODES = {
    "RepositoryNotFoundException": (404, "NAME_UNKNOWN"),
    "UploadNotFoundException": (404, "BLOB_UPLOAD_UNKNOWN"),
    "InvalidLayerException": (400, "DIGEST_INVALID"),
    "EmptyUploadException": (400, "BLOB_UPLOAD_INVALID"),
    "LayersNotFoundException": (404, "MANIFEST_BLOB_UNKNOWN"),
    "ReferencedImagesNotFoundException": (404, "MANIFEST_BLOB_UNKNOWN"),
    "ImageTagAlreadyExistsException": (400, "TAG_INVALID"),
}
THERE = ("LayerAlreadyExistsException", "ImageAlreadyExistsException")


@dataclass
class Token:
    key: str  # access key of who asked for it
    account: str
    region: str
    until: float


_tokens: dict[str, Token] = {}
_asking: contextvars.ContextVar[str] = contextvars.ContextVar("rehearsal_asking", default="")


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code = status, code


def owns(host: str) -> bool:
    return HOST.fullmatch(host.lower()) is not None


def _token(_data: dict) -> tuple:
    account, region = get_account_id(), get_region()
    password, until = secrets.token_urlsafe(96), clock.now() + TOKEN_SECONDS
    _tokens[password] = Token(_asking.get(), account, region, until)
    return json_response(
        {
            "authorizationData": [
                {
                    "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
                    "expiresAt": int(until),
                    "proxyEndpoint": f"https://{account}.dkr.ecr.{region}.amazonaws.com",
                }
            ]
        }
    )


def _who(authorization: str, account: str, region: str) -> tuple[str, iam_evaluator.PrincipalInfo]:
    """The access key and principal behind a Basic authorization."""
    scheme, _, given = authorization.partition(" ")
    try:
        user, _, password = base64.b64decode(given).decode().partition(":")
    except ValueError:
        user = password = ""
    token = _tokens.get(password)
    if scheme.lower() != "basic" or user != "AWS" or token is None or token.region != region:
        raise Refused(401, "UNAUTHORIZED", "Not Authorized")
    with request_scope(token.account, region):
        principal = iam_evaluator.resolve_principal(token.key, token.account)
    if token.until < clock.now() or isinstance(principal, iam_evaluator.AuthError):
        raise Refused(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")
    return token.key, principal


@dataclass
class Caller:
    key: str
    principal: iam_evaluator.PrincipalInfo

    def call(self, action: str, handler, data: dict) -> dict:
        """One call of ECR's, if it is allowed. Raises Refused."""
        request = Request("ecr", action, data, get_account_id(), get_region())
        name, who = data["repositoryName"], self.principal
        session = who.arn.rpartition("/")[2] if ":assumed-role/" in who.arn else ""
        told = ("ecr", action, name, request.account, request.region, who.arn, session, "")
        if who.policies is None:
            if who.account != request.account:  # what a repository's policy lets others do is worked out for roles
                raise Refused(403, "DENIED", f"{who.arn} is not authorized to perform: ecr:{action}")
            why = "root"
        else:
            decided: list[str] = []
            found = policy.layers_of(self.key, who.account, who)
            refusal = policy.refused(request, who, found, lambda _, decision: decided.append(decision.by))
            if refusal is not None:
                trail.record(*told, why=refusal.told, error="AccessDeniedException")
                raise Refused(403, "DENIED", refusal.unknown or refusal.message)
            why = ", ".join(decided)
        status, _, body = handler(data)
        answer = json.loads(body)
        error = answer.get("__type", "").rpartition("#")[2] if status >= 400 else ""
        trail.record(*told, why=why, error=error)
        if error and error not in THERE:
            status, code = CODES.get(error, (status, "UNSUPPORTED"))
            raise Refused(status, code, answer.get("message", error))
        return answer


def _part(caller: Caller, name: str, upload: str, body: bytes) -> int:
    """Appends to an upload in parts that ECR takes; answers how much there is."""
    for start in range(0, len(body), layers.PART_BYTES):
        part = body[start : start + layers.PART_BYTES]
        received = layers.uploaded(name, upload)
        caller.call(
            "UploadLayerPart",
            layers.part,
            {
                "repositoryName": name,
                "uploadId": upload,
                "partFirstByte": received,
                "partLastByte": received + len(part) - 1,
                "layerPartBlob": base64.b64encode(part).decode(),
            },
        )
    return layers.uploaded(name, upload)


Answer = tuple[int, dict[str, str], bytes]


def _blob(caller: Caller, method: str, name: str, digest: str) -> Answer:
    asked = {"repositoryName": name, "layerDigests": [digest]}
    if method == "GET":  # nothing is kept of a layer but its digest and size
        caller.call("GetDownloadUrlForLayer", lambda _: json_response({}), {"repositoryName": name})
        raise Refused(404, "BLOB_UNKNOWN", "the emulated registry keeps no layers' content")
    found = caller.call("BatchCheckLayerAvailability", ecr._batch_check_layer_availability, asked)["layers"][0]
    if found["layerAvailability"] != "AVAILABLE":
        raise Refused(404, "BLOB_UNKNOWN", f"no layer {digest}")
    return 200, {"content-length": str(found["layerSize"]), "docker-content-digest": digest}, b""


def _upload(caller: Caller, method: str, name: str, upload: str, query: dict, body: bytes) -> Answer:
    if method == "POST":  # another repository's layer is not mounted: it is pushed again
        upload = caller.call("InitiateLayerUpload", ecr._initiate_layer_upload, {"repositoryName": name})["uploadId"]
        size = 0
    else:
        size = _part(caller, name, upload, body)
    if method == "PUT":
        digest = (query.get("digest") or [""])[0]
        given = {"repositoryName": name, "uploadId": upload, "layerDigests": [digest]}
        caller.call("CompleteLayerUpload", ecr._complete_layer_upload, given)
        return 201, {"location": f"/v2/{name}/blobs/{digest}", "docker-content-digest": digest}, b""
    where = {"location": f"/v2/{name}/blobs/uploads/{quote(upload)}", "docker-upload-uuid": upload}
    return 202, {**where, "range": f"0-{max(size - 1, 0)}"}, b""


def _manifest(caller: Caller, method: str, name: str, reference: str, kind: str, body: bytes) -> Answer:
    by_digest = reference.startswith("sha256:")
    asked = {"imageDigest" if by_digest else "imageTag": reference}
    if method == "PUT":
        given = {"repositoryName": name, "imageManifest": body.decode(), "imageManifestMediaType": kind} | asked
        caller.call("PutImage", ecr._put_image, given)
        digest = layers.digest_of(body)
        return 201, {"location": f"/v2/{name}/manifests/{digest}", "docker-content-digest": digest}, b""
    answer = caller.call("BatchGetImage", ecr._batch_get_image, {"repositoryName": name, "imageIds": [asked]})
    if not answer["images"]:
        raise Refused(404, "MANIFEST_UNKNOWN", f"Requested image not found: {reference}")
    image = answer["images"][0]
    text = image["imageManifest"].encode()
    named = {"content-type": image["imageManifestMediaType"], "docker-content-digest": layers.digest_of(text)}
    return 200, {**named, "content-length": str(len(text))}, b"" if method == "HEAD" else text


def _answer(account: str, region: str, method: str, path: str, query: dict, headers: dict, body: bytes) -> Answer:
    caller = Caller(*_who(headers.get("authorization", ""), account, region))
    if path in ("/v2", "/v2/"):
        return 200, {}, b"{}"
    # POST ends in a slash, so that there the id is empty.
    found = PATH.fullmatch(path)
    if found is None:
        raise Refused(404, "UNSUPPORTED", f"no such path: {path}")
    name, what, rest = found.groups()
    with request_scope(account, region):
        if what == "blobs" and method in ("HEAD", "GET"):
            return _blob(caller, method, name, rest)
        if what == "blobs/uploads" and (method == "POST" or (rest and method in ("PATCH", "PUT"))):
            return _upload(caller, method, name, rest, query, body)
        if what == "manifests" and method in ("HEAD", "GET", "PUT"):
            return _manifest(caller, method, name, rest, headers.get("content-type", ""), body)
    raise Refused(405, "UNSUPPORTED", f"{method} is not known here")


async def serve(scope, receive, send) -> None:
    """Answer a request that `owns` has taken. An ASGI application."""
    chunks, more = [], True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host = HOST.fullmatch(headers["host"].lower())
    assert host is not None
    account, region = host.groups()
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    try:
        given = (scope["method"], scope["path"], query, headers, b"".join(chunks))
        status, shown, body = _answer(account, region, *given)
    except Refused as error:
        body = json.dumps({"errors": [{"code": error.code, "message": str(error)}]}).encode()
        status, shown = error.status, {"content-type": "application/json"}
        if status == 401:
            shown["www-authenticate"] = f'Basic realm="https://{headers["host"]}/",service="ecr.amazonaws.com"'
    shown = {"docker-distribution-api-version": "registry/2.0", "content-length": str(len(body)), **shown}
    raw = [(name.encode(), value.encode()) for name, value in shown.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _remember_who() -> None:
    handle = ecr.handle_request

    async def handled(method, path, headers, body, query_params):
        _asking.set(extract_access_key_id(headers, query_params) or "")
        return await handle(method, path, headers, body, query_params)

    ecr.handle_request = handled


def install() -> None:
    ecr._get_authorization_token = _token
    _remember_who()


def reset() -> None:
    _tokens.clear()


def stop() -> None:
    pass
