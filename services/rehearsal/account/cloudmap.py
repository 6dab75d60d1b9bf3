"""Cloud Map: a service's DNS name leads to its instances, from the moment the service is made (see addresses).

As a private zone's A record does, the name answers with the healthy instances, or with all of them when none is
healthy; the port is the client's choice. The API is ministack's, with AWS's refusals where ours depends on them.
"""


from ministack.core.responses import error_response_json, get_account_id, get_region, json_response, request_scope
from ministack.services import servicediscovery as cloudmap

from account import addresses, clock, durations, reachability

_vpcs: dict[tuple[str, str, str], str] = {}  # account, region, namespace -> VPC
_DUPLICATE = "Service already exists."


def name_of(service: dict) -> str | None:
    """The service's DNS name; None in an HTTP namespace, which has no DNS."""
    namespace = cloudmap._namespaces.get(service["NamespaceId"])
    if namespace is None or namespace["Type"] == "HTTP":
        return None
    return f"{service['Name']}.{namespace['Name']}"


def hosts(account: str, region: str, service_id: str) -> list[str]:
    """The addresses that the name answers with now, in no order."""
    with request_scope(account, region):
        instances = dict(cloudmap._instances.get(service_id) or {})
        health = dict(cloudmap._instance_health_status.get(service_id) or {})
    known = {name: one["Attributes"].get("AWS_INSTANCE_IPV4") for name, one in instances.items()}
    healthy = [host for name, host in known.items() if host and health.get(name, "HEALTHY") == "HEALTHY"]
    found = healthy or [host for host in known.values() if host]
    return durations.random("names").sample(found, len(found))


def vpc_of(service: dict) -> str:
    """The VPC whose resolver knows the service's name."""
    return _vpcs.get((get_account_id(), get_region(), service["NamespaceId"]), "")


def _publish(service: dict) -> None:
    name = name_of(service)
    if not name:
        return
    account, region, service_id, vpc = get_account_id(), get_region(), service["Id"], vpc_of(service)

    def targets(port: int) -> list[addresses.Target]:
        found = [reachability.locate(account, region, vpc, host) for host in hosts(account, region, service_id)]
        return [((host, port), interface) for host, interface in found]

    addresses.publish(name, None, targets, vpc)


def install() -> None:
    made = cloudmap._create_namespace_record

    def namespace_made(name, ns_type, description=None, tags=None, soa_ttl=None, vpc=None):
        namespace, refused = made(name, ns_type, description, tags, soa_ttl, vpc)
        if namespace is not None and vpc:
            _vpcs[(get_account_id(), get_region(), namespace["Id"])] = vpc
        return namespace, refused

    cloudmap._create_namespace_record = namespace_made
    create, delete, register = cloudmap._create_service, cloudmap._delete_service, cloudmap._register_instance
    deregister, start, get = cloudmap._deregister_instance, cloudmap._create_operation, cloudmap._get_operation
    read = cloudmap._get_namespace

    def service_created(data):
        for other in cloudmap._services.values():
            if other["NamespaceId"] == data.get("NamespaceId") and other["Name"] == data.get("Name"):
                status, headers, _ = error_response_json("ServiceAlreadyExists", _DUPLICATE, 400)
                body = {
                    "__type": "ServiceAlreadyExists",
                    "Message": _DUPLICATE,
                    "ServiceId": other["Id"],
                    "CreatorRequestId": "",
                }
                return status, headers, json_response(body)[2]
        before = set(cloudmap._services.keys())
        answer = create(data)
        for service_id in set(cloudmap._services.keys()) - before:
            _publish(cloudmap._services[service_id])
        return answer

    def service_deleted(data):
        service = cloudmap._services.get(data.get("Id"))
        if service is not None and cloudmap._instances.get(service["Id"]):
            return error_response_json(
                "ResourceInUse",
                "Service contains registered instances; delete the instances before deleting the service",
                400,
            )
        name, vpc = (name_of(service), vpc_of(service)) if service else (None, "")
        answer = delete(data)
        if name:
            addresses.withdraw(name, vpc)
        return answer

    def instance_registered(data):
        service = cloudmap._services.get(data.get("ServiceId"))
        attributes = data.get("Attributes") or {}
        if (
            service is not None
            and name_of(service)
            and not {"AWS_INSTANCE_IPV4", "AWS_INSTANCE_CNAME", "AWS_ALIAS_DNS_NAME"} & set(attributes)
        ):
            return error_response_json(
                "InvalidInput", "Attribute AWS_INSTANCE_IPV4 is required for services with an A record", 400
            )
        return register(data)

    def instance_deregistered(data):
        if data.get("ServiceId") in cloudmap._services and data.get("InstanceId") not in (
            cloudmap._instances.get(data["ServiceId"]) or {}
        ):
            return error_response_json("InstanceNotFound", f"Instance {data.get('InstanceId')} not found", 404)
        return deregister(data)

    def namespace_read(data):
        """https://docs.aws.amazon.com/cloud-map/latest/api/API_Namespace.html"""
        namespace = cloudmap._namespaces.get(data.get("Id"))
        if namespace is None:
            return read(data)
        count = sum(one["NamespaceId"] == namespace["Id"] for one in cloudmap._services.values())
        return json_response({"Namespace": {**namespace, "ServiceCount": count}})

    def operation_started(kind, targets=None):
        operation_id = start(kind, targets)
        if kind in ("CREATE_NAMESPACE", "DELETE_NAMESPACE"):
            wait = durations.seconds("namespace.create" if kind.startswith("CREATE") else "namespace.delete")
            cloudmap._operations[operation_id] |= {"Status": "PENDING", "_until": clock.now() + wait}
        elif kind in ("REGISTER_INSTANCE", "DEREGISTER_INSTANCE"):
            wait = durations.seconds("namespace.instance")
            cloudmap._operations[operation_id] |= {"Status": "PENDING", "_until": clock.now() + wait}
        return operation_id

    def operation_read(data):
        operation = cloudmap._operations.get(data.get("OperationId"))
        if operation is None:
            return get(data)
        if clock.now() >= operation.get("_until", 0):
            operation["Status"] = "SUCCESS"
        return json_response({"Operation": {key: value for key, value in operation.items() if not key.startswith("_")}})

    cloudmap._create_service, cloudmap._delete_service = service_created, service_deleted
    cloudmap._register_instance, cloudmap._deregister_instance = instance_registered, instance_deregistered
    cloudmap._create_operation, cloudmap._get_operation = operation_started, operation_read
    cloudmap._get_namespace = namespace_read


def reset() -> None:
    _vpcs.clear()  # ministack forgets the services, addresses the names


def stop() -> None:
    pass
