"""Container images: looked up in the emulated ECR as ECS would, and mapped to a program of this machine.

An image in the registry says what it stands for in its manifest: annotation `rehearsal.image` names an entry of the
catalogue, `rehearsal.env` is JSON of the environment baked into it. The catalogue (a JSON file, settings.CATALOGUE) has

    {"images": {"<entry>": {"entrypoint": [...], "cmd": [...], "cwd": "...", "env": {...}, "path": [dirs first on PATH],
                            "files": {"/path/in/the/container": "path here"}, "fails": "a pull error"}},
     "public": {"public.ecr.aws/docker/library/redis:*": "<entry>"}}

`${root}` (the repository), `${images}` (services/rehearsal/images), `${node}` and `${python}` (the server's Python
environment) are replaced in its strings. Paths named in `files` are replaced in commands, so that a task definition may
say what the real image needs.
"""

import fnmatch
import hashlib
import json
import logging
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from ministack.core.responses import error_response_json, get_account_id, json_response, request_scope
from ministack.services import ecr

from account import clock, layers, rights, settings

HERE = settings.ROOT / "services" / "rehearsal" / "images"
ECR = re.compile(r"^(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/(.+)$")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
log = logging.getLogger("rehearsal.images")


class PullError(Exception):
    """The image cannot be had; the text is ECS's stoppedReason."""


@dataclass
class Image:
    digest: str
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)
    cwd: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def here(self, argv: list[str]) -> list[str]:
        """A command as it is run on this machine: the container's files replaced by ours."""
        for there, path in self.files.items():
            argv = [word.replace(there, path) for word in argv]
        return argv


def is_private(reference: str) -> bool:
    return ECR.match(reference) is not None


def split(reference: str) -> tuple[str, str, str]:
    """(name, tag, digest) of an image reference; tag and digest may be ''."""
    name, _, digest = reference.partition("@")
    base, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return base, tag, digest
    return name, "", digest


AMD64 = "linux/amd64"


def pull(reference: str, role_arn: str, session: str, region: str, platform: str = AMD64) -> Image:
    """What ECS does with an image reference, with the rights of the task's execution role. Raises PullError."""
    found = ECR.match(reference)
    return _private(reference, found, role_arn, session, region, platform) if found else _public(reference)


def _private(reference: str, found: re.Match, role_arn: str, session: str, region: str, platform: str) -> Image:
    account, registry_region = found.group(1), found.group(2)
    host = reference.split("/")[0]
    repository, tag, digest = split(found.group(3))
    tag = tag or ("" if digest else "latest")
    why = rights.denied(role_arn, session, "ecr:GetAuthorizationToken", "*", region)
    if why:
        raise PullError(
            "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval "
            "failed: "
            "unable to retrieve ecr registry auth: service call has been retried 1 time(s): AccessDeniedException: "
            f"{why} status code: 400"
        )
    arn = f"arn:aws:ecr:{registry_region}:{account}:repository/{repository}"
    resolving = (
        f"CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {reference}:"
    )
    if rights.denied(role_arn, session, "ecr:BatchGetImage", arn, registry_region):
        raise PullError(
            f"{resolving} pulling from host {host} failed with status code [manifests {digest or tag}]: 403 Forbidden"
        )
    with request_scope(account, registry_region):
        if account != role_arn.split(":")[4] and repository not in ecr._repositories:
            raise PullError(
                f"{resolving} pulling from host {host} failed with status code [manifests {digest or tag}]: 403 "
                "Forbidden"
            )
        image = _find(repository, {"imageDigest": digest} if digest else {"imageTag": tag})
        if image is not None:
            image = _of_platform(repository, image, platform)
    if image is None:
        raise PullError(f"{resolving} {reference}: not found")
    if rights.denied(role_arn, session, "ecr:GetDownloadUrlForLayer", arn, registry_region):
        raise PullError(
            "CannotPullContainerError: ref pull has been retried 1 time(s): failed to copy: httpReadSeeker: failed "
            "open: unexpected "
            f"status code https://{host}/v2/{repository}/blobs/{image['imageDigest']}: 403 Forbidden"
        )
    try:
        annotations = json.loads(image["imageManifest"]).get("annotations") or {}
        baked = json.loads(annotations.get("rehearsal.env") or "{}")
    except (ValueError, AttributeError):
        annotations, baked = {}, {}
    entry = annotations.get("rehearsal.image")
    if entry is None:
        raise PullError(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not "
            "contain descriptor matching "
            "platform 'linux/amd64' (an emulated image says what it runs in its annotation rehearsal.image: "
            f"{reference})"
        )
    return _entry(entry, reference, image["imageDigest"], baked)


def _of_platform(repository: str, image: dict, platform: str) -> dict:
    """Of an image that lists others, the one for the task's platform. Raises PullError.
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
    """
    listed = json.loads(image["imageManifest"]).get("manifests")
    if listed is None:
        return image
    for one in listed:
        made_for = one.get("platform") or {}
        if f"{made_for.get('os')}/{made_for.get('architecture')}" == platform:
            found = _find(repository, {"imageDigest": one.get("digest")})
            if found is not None:
                return found
    raise PullError(
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): image Manifest does not contain "
        f"descriptor matching platform '{platform}'"
    )


def _public(reference: str) -> Image:
    name, tag, digest = split(reference)
    full = f"{name}:{tag or 'latest'}"
    for pattern, entry in _catalogue().get("public", {}).items():
        if fnmatch.fnmatchcase(full, pattern):
            return _entry(entry, reference, digest or "sha256:" + hashlib.sha256(full.encode()).hexdigest(), {})
    log.warning("no entry of the catalogue stands for the public image %s", reference)
    raise PullError(
        "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
        f"{reference}: {reference}: not found"
    )


def _entry(name: str, reference: str, digest: str, baked: dict[str, str]) -> Image:
    entry = _catalogue().get("images", {}).get(name)
    if entry is None:
        log.warning("%s: the catalogue has no image %r", reference, name)
    fails = f"no entry {name!r} in the images catalogue" if entry is None else entry.get("fails")
    if fails or entry is None:
        raise PullError(
            "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
            f"{reference}: {fails}"
        )
    path = os.pathsep.join([*entry.get("path", []), PATH])
    return Image(
        digest=digest,
        entrypoint=entry.get("entrypoint", []),
        cmd=entry.get("cmd", []),
        cwd=entry.get("cwd"),
        env={"PATH": path, "LANG": "C.UTF-8", **entry.get("env", {}), **baked},
        files=entry.get("files", {}),
    )


_read: tuple[tuple, dict] | None = None


def _catalogue() -> dict:
    """Read again when the file has changed."""
    global _read
    path = Path(settings.CATALOGUE) if settings.CATALOGUE else HERE / "catalogue.json"
    mark = (path, path.stat().st_mtime_ns)
    if _read is None or _read[0] != mark:
        server = settings.ROOT / ".cache" / "python" / "server"
        words = {
            "${root}": str(settings.ROOT),
            "${images}": str(HERE),
            "${node}": shutil.which("node") or "node",
            "${python}": str(server / "bin" / "python"),
            "${server}": str(server),
        }
        _read = (mark, _replaced(json.loads(path.read_text()), words))
    return _read[1]


def _replaced(value, words: dict[str, str]):
    if isinstance(value, dict):
        return {key: _replaced(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, words) for item in value]
    if isinstance(value, str):
        for word, text in words.items():
            value = value.replace(word, text)
    return value


# ECR, where ministack is laxer than AWS ---------------------------------------------------------------------


def _find(repository: str, image_id: dict) -> dict | None:
    """The image with this digest and (when both are given) this tag."""
    digest, tag = image_id.get("imageDigest"), image_id.get("imageTag")
    for image in ecr._images.get(repository) or []:
        if (
            (not digest or image["imageDigest"] == digest)
            and (not tag or tag in image["imageTags"])
            and (digest or tag)
        ):
            return image
    return None


def _missing_repository(name: str):
    if name in ecr._repositories:
        return None
    return error_response_json(
        "RepositoryNotFoundException",
        f"The repository with name '{name}' does not exist in the registry with id '{get_account_id()}'",
        400,
    )


def _put_image(data: dict):
    name, manifest, tag = data.get("repositoryName", ""), data.get("imageManifest", ""), data.get("imageTag")
    error = _missing_repository(name)
    if error:
        return error
    try:
        document = json.loads(manifest)
        if not isinstance(document, dict):
            raise ValueError
    except ValueError:
        return error_response_json(
            "InvalidParameterException",
            "Invalid parameter at 'ImageManifest' failed to satisfy constraint: 'Invalid JSON syntax'",
            400,
        )
    digest = layers.digest_of(manifest.encode())
    if data.get("imageDigest") not in (None, digest):
        return error_response_json(
            "ImageDigestDoesNotMatchException", "The digest provided does not match the digest of the manifest", 400
        )
    lacking = layers.lacking(name, document)
    if lacking:
        return error_response_json(*lacking, 400)
    media_type = data.get("imageManifestMediaType") or document.get("mediaType") or ecr._DEFAULT_MANIFEST_MEDIA_TYPE
    images = ecr._images.setdefault(name, [])
    existing = _find(name, {"imageDigest": digest})
    if existing and (not tag or tag in existing["imageTags"]):
        return error_response_json(
            "ImageAlreadyExistsException",
            f"Image with digest '{digest}' and tag '{tag}' already exists in the repository with name '{name}' "
            f"in registry with id '{get_account_id()}'",
            400,
        )
    holder = _find(name, {"imageTag": tag}) if tag else None
    if holder and ecr._repositories[name].get("imageTagMutability") == "IMMUTABLE":
        return error_response_json(
            "ImageTagAlreadyExistsException",
            f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the "
            "repository is immutable.",
            400,
        )
    if holder:
        holder["imageTags"].remove(tag)
        holder["imageId"] = _first_id(holder)
    image = existing or {
        "registryId": get_account_id(),
        "repositoryName": name,
        "imageManifest": manifest,
        "imageManifestMediaType": media_type,
        "imageTags": [],
        "imagePushedAt": int(clock.now()),
        "imageDigest": digest,
    }
    if tag:
        image["imageTags"].append(tag)
    image["imageId"] = _first_id(image)
    if existing is None:
        images.append(image)
    image_id = {"imageDigest": digest, **({"imageTag": tag} if tag else {})}
    shape = {"registryId": get_account_id(), "repositoryName": name, "imageId": image_id, "imageManifest": manifest}
    return json_response({"image": {**shape, "imageManifestMediaType": media_type}})


def _first_id(image: dict) -> dict:
    return {"imageDigest": image["imageDigest"], **({"imageTag": image["imageTags"][0]} if image["imageTags"] else {})}


def _describe_images(data: dict):
    name = data.get("repositoryName", "")
    error = _missing_repository(name)
    if error:
        return error
    chosen = []
    for image_id in data.get("imageIds") or []:
        image = _find(name, image_id)
        if image is None:
            digest, tag = image_id.get("imageDigest", "null"), image_id.get("imageTag", "null")
            asked = f"{{imageDigest:'{digest}', imageTag:'{tag}'}}"
            return error_response_json(
                "ImageNotFoundException",
                f"The image with imageId {asked} does not exist within the repository with name '{name}' "
                f"in the registry with id '{get_account_id()}'",
                400,
            )
        if image not in chosen:
            chosen.append(image)
    if not data.get("imageIds"):
        status = (data.get("filter") or {}).get("tagStatus")
        chosen = [
            i
            for i in ecr._images.get(name) or []
            if status in (None, "ANY") or (status == "TAGGED") == bool(i["imageTags"])
        ]
    start = int(data.get("nextToken") or 0)
    end = start + (data.get("maxResults") or 100)
    details = [
        {
            "registryId": get_account_id(),
            "repositoryName": name,
            "imageDigest": image["imageDigest"],
            **({"imageTags": image["imageTags"]} if image["imageTags"] else {}),
            "imageSizeInBytes": len(image["imageManifest"]),
            "imagePushedAt": image["imagePushedAt"],
            "imageManifestMediaType": image["imageManifestMediaType"],
            "artifactMediaType": "application/vnd.oci.image.config.v1+json",
        }
        for image in chosen[start:end]
    ]
    return json_response({"imageDetails": details, **({"nextToken": str(end)} if end < len(chosen) else {})})


def _list_images(data: dict):
    name = data.get("repositoryName", "")
    error = _missing_repository(name)
    if error:
        return error
    status = (data.get("filter") or {}).get("tagStatus")
    ids = []
    for image in ecr._images.get(name) or []:
        if image["imageTags"] and status != "UNTAGGED":
            ids += [{"imageDigest": image["imageDigest"], "imageTag": tag} for tag in image["imageTags"]]
        elif not image["imageTags"] and status != "TAGGED":
            ids.append({"imageDigest": image["imageDigest"]})
    start = int(data.get("nextToken") or 0)
    end = start + (data.get("maxResults") or 100)
    return json_response({"imageIds": ids[start:end], **({"nextToken": str(end)} if end < len(ids) else {})})


def install() -> None:
    # ministack's dispatcher looks these up by name in its module on each request
    ecr._put_image = _put_image
    ecr._describe_images = _describe_images
    ecr._list_images = _list_images
    ecr._find_image = _find
    _catalogue()


def reset() -> None:
    pass


def stop() -> None:
    pass
