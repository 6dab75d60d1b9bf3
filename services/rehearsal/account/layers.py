"""ECR's layers, with their real digests, and images that consist of others.

Uploads: https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CompleteLayerUpload.html. Nothing is kept of a
layer but its digest and size.
"""

import base64
import hashlib
import json

from ministack.core.responses import error_response_json, get_account_id, get_region, json_response
from ministack.services import ecr

PART_BYTES = 10_485_760
_uploads: dict[tuple[str, str, str, str], bytearray] = {}  # (account, region, repository, upload)
_layers: dict[tuple[str, str, str], dict[str, int]] = {}  # (account, region, repository) -> digest -> size


def _place(repository: str) -> tuple[str, str, str]:
    return get_account_id(), get_region(), repository


def digest_of(content: bytes | bytearray) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def uploaded(repository: str, upload: str) -> int:
    """Bytes that an upload has so far."""
    return len(_uploads.get((*_place(repository), upload), b""))


def known(repository: str) -> dict[str, int]:
    """Sizes of a repository's layers by digest."""
    return _layers.get(_place(repository), {})


def _missing(repository: str) -> tuple | None:
    if repository in ecr._repositories:
        return None
    message = f"The repository with name '{repository}' does not exist in the registry with id '{get_account_id()}'"
    return error_response_json("RepositoryNotFoundException", message, 400)


def _upload(data: dict) -> bytearray | None:
    return _uploads.get((*_place(data.get("repositoryName", "")), data.get("uploadId", "")))


def _not_found(data: dict) -> tuple:
    upload, name = data.get("uploadId", ""), data.get("repositoryName", "")
    message = f"The layer upload '{upload}' does not exist for repository '{name}'"
    return error_response_json("UploadNotFoundException", message, 400)


def _initiate(data: dict) -> tuple:
    name = data.get("repositoryName", "")
    refused = _missing(name)
    if refused:
        return refused
    upload = ecr.new_uuid()
    _uploads[*_place(name), upload] = bytearray()
    return json_response({"uploadId": upload, "partSize": PART_BYTES})


def part(data: dict) -> tuple:
    """Parts come in order and without gaps."""
    received = _upload(data)
    if received is None:
        return _missing(data.get("repositoryName", "")) or _not_found(data)
    blob = base64.b64decode(data.get("layerPartBlob") or "")
    first, last = data.get("partFirstByte"), data.get("partLastByte")
    if first != len(received) or last - first + 1 != len(blob):
        message = (
            "The layer part size is not valid, or the first byte specified is not consecutive to the last byte of a "
            "previous layer part upload."
        )
        status, headers, body = error_response_json("InvalidLayerPartException", message, 400)
        shown = {**json.loads(body), "lastValidByteReceived": len(received) - 1, "uploadId": data.get("uploadId")}
        return status, headers, json.dumps(shown).encode()
    received.extend(blob)
    shown = {"registryId": get_account_id(), "repositoryName": data["repositoryName"], "uploadId": data["uploadId"]}
    return json_response({**shown, "lastByteReceived": len(received) - 1})


def _complete(data: dict) -> tuple:
    name, received = data.get("repositoryName", ""), _upload(data)
    if received is None:
        return _missing(name) or _not_found(data)
    if not received:
        message = "The specified layer upload does not contain any layer parts."
        return error_response_json("EmptyUploadException", message, 400)
    digest = digest_of(received)
    if digest not in (data.get("layerDigests") or []):
        message = (
            "The layer digest calculation performed by Amazon ECR upon receipt of the image layer does not match the "
            "digest specified."
        )
        return error_response_json("InvalidLayerException", message, 400)
    layers = _layers.setdefault(_place(name), {})
    if digest in layers:
        message = f"Layer with digest '{digest}' already exists in the repository with name '{name}'"
        return error_response_json("LayerAlreadyExistsException", message, 400)
    layers[digest] = len(received)
    del _uploads[*_place(name), data["uploadId"]]
    shown = {"registryId": get_account_id(), "repositoryName": name, "uploadId": data["uploadId"]}
    return json_response({**shown, "layerDigest": digest})


def _available(data: dict) -> tuple:
    name = data.get("repositoryName", "")
    refused = _missing(name)
    if refused:
        return refused
    there = known(name)
    rows = [
        {"layerDigest": one, "layerAvailability": "AVAILABLE", "layerSize": there[one]}
        if one in there
        else {"layerDigest": one, "layerAvailability": "UNAVAILABLE"}
        for one in data.get("layerDigests") or []
    ]
    return json_response({"layers": rows, "failures": []})


def lacking(repository: str, document: dict) -> tuple[str, str] | None:
    """(code, message) when an image's layers, or the images that it lists, are not there.
    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html
    """
    wanted = [one.get("digest") for one in document.get("layers") or []]
    there = known(repository)
    gone = [one for one in wanted if one not in there]
    if gone:
        return "LayersNotFoundException", f"Layers with digests '{gone}' required for pushing image not found"
    listed = [one.get("digest") for one in document.get("manifests") or []]
    images = {one["imageDigest"] for one in ecr._images.get(repository) or []}
    gone = [one for one in listed if one not in images]
    if gone:
        return "ReferencedImagesNotFoundException", f"Images with digests '{gone}' required for pushing image not found"
    return None


def _delete(data: dict) -> tuple:
    """A tag takes itself away, and the image with its last one; a digest takes the image and all its tags; what a list
    refers to stays. https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
    """
    name = data.get("repositoryName", "")
    refused = _missing(name)
    if refused:
        return refused
    deleted, failures, images = [], [], ecr._images.get(name) or []
    for asked in data.get("imageIds") or []:
        found = ecr._find_image(name, asked)
        if found is None:
            reason = "Requested image not found"
            failures.append({"imageId": asked, "failureCode": "ImageNotFound", "failureReason": reason})
            continue
        tag, digest = asked.get("imageTag"), found["imageDigest"]
        gone = [tag] if tag else list(found["imageTags"])
        if set(gone) == set(found["imageTags"]):
            lists = [one["imageDigest"] for one in images if digest in one["imageManifest"] and one is not found]
            if lists:
                reason = f"Requested image referenced by manifest list: {lists}"
                failures.append(
                    {"imageId": asked, "failureCode": "ImageReferencedByManifestList", "failureReason": reason}
                )
                continue
            images.remove(found)
        found["imageTags"] = [one for one in found["imageTags"] if one not in gone]
        deleted += [{"imageDigest": digest, "imageTag": one} for one in gone] or [{"imageDigest": digest}]
    return json_response({"imageIds": deleted, "failures": failures})


def install() -> None:
    # ministack's dispatcher looks these up by name in its module on each request
    ecr._initiate_layer_upload = _initiate
    ecr._upload_layer_part = part
    ecr._complete_layer_upload = _complete
    ecr._batch_check_layer_availability = _available
    ecr._batch_delete_image = _delete


def reset() -> None:
    _uploads.clear()
    _layers.clear()


def stop() -> None:
    pass
