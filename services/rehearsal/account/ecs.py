"""ECS's API where it is ours: services, tasks, service deployments. Task definitions are in definitions.py.

ministack keeps clusters, tags, account settings and task definitions (its stores `_clusters`, `_task_defs`, `_tags`;
services' and tasks' records are put into its `_services` and `_tasks` for whoever reads them there). Its dispatcher
finds our functions in `_ACTION_MAP`, its CloudFormation part by name in the module. Error codes and sentences are AWS's
where they are known.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from ministack.core.responses import error_response_json, get_account_id, get_region
from ministack.services import alb, cloudwatch, ec2, ecs
from ministack.services import servicediscovery as cloudmap

from account import agent, capacity, clock, credentials, definitions, durations, scheduler, services, tasks
from account.answers import Refused, answering, caller, invalid, page
from account.services import Service
from account.tasks import Task

NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
PROTECTION_MINUTES = 120
PROTECTION_MINUTES_LIMIT = 2880
PROTECTION_TASKS = 10
NOT_EMULATED = ("lifecycleHooks", "linearConfiguration", "canaryConfiguration", "earlySuccessCriteria")
NOT_EXECUTABLE = (
    "The execute command failed because execute command was not enabled when the task was run or the execute command "
    "agent isn’t running. Wait and try again or run a new task with execute command enabled and try again."
)
_tokens: dict[tuple, tuple[str, Any]] = {}


# What requests name -----------------------------------------------------------------------------------------


def _cluster(data: dict) -> dict:
    name = ecs._resolve_cluster_name(data.get("cluster") or "default")
    cluster = ecs._clusters.get(name) if name else None
    if cluster is None or cluster["status"] != "ACTIVE":
        raise Refused("ClusterNotFoundException", "Cluster not found.")
    return cluster


def _service_name(reference: str, cluster: dict) -> str | None:
    """The name in a service name or ARN; None when the ARN is of another cluster, region or account."""
    found = ecs._resolve_service_ref(reference or "")
    if not found or found[1] not in (None, cluster["clusterName"]):
        return None
    return found[0]


def _service(data: dict, cluster: dict) -> Service:
    name = _service_name(data.get("service", ""), cluster)
    record = ecs._services.get(f"{cluster['clusterName']}/{name}") if name else None
    if record is None:
        raise Refused("ServiceNotFoundException", "Service not found.")
    if record["status"] != "ACTIVE":
        raise Refused("ServiceNotActiveException", "Service was not ACTIVE.")
    return services.services[record["serviceArn"]]


def _network(data: dict, definition: dict) -> dict | None:
    network = data.get("networkConfiguration")
    if definition.get("networkMode") != "awsvpc":
        return network
    inner = (network or {}).get("awsvpcConfiguration")
    if not inner:
        raise invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not inner.get("subnets"):
        raise invalid("subnets can not be empty.")
    for subnet in inner["subnets"]:
        if subnet not in ec2._subnets:
            raise invalid(
                f"Error retrieving subnet information for [{', '.join(inner['subnets'])}]: The subnet ID '{subnet}' "
                "does not exist "
                "(ErrorCode: InvalidSubnetID.NotFound)"
            )
    for group in inner.get("securityGroups") or []:
        if group not in ec2._security_groups:
            raise invalid(
                f"Error retrieving security group information for [{', '.join(inner['securityGroups'])}]: The "
                f"security group '{group}' does not "
                "exist (ErrorCode: InvalidGroup.NotFound)"
            )
    return {"awsvpcConfiguration": {"securityGroups": [], "assignPublicIp": "DISABLED", **inner}}


def _load_balancers(entries: list[dict], definition: dict) -> list[dict]:
    for entry in entries:
        arn, name, port = entry.get("targetGroupArn", ""), entry.get("containerName"), entry.get("containerPort")
        group = alb._tgs.get(arn)
        if group is None:
            raise invalid(f"The specified target group does not exist: {arn}")
        if group.get("TargetType") != "ip" and definition.get("networkMode") == "awsvpc":
            raise invalid(
                f"The provided target group {arn} has target type {group.get('TargetType', 'instance')}, which is "
                "incompatible with the awsvpc "
                "network mode specified in the task definition."
            )
        if not _attached(arn):
            raise invalid(f"The target group with targetGroupArn {arn} does not have an associated load balancer.")
        _container_port(definition, name, port)
    return entries


def _attached(target_group: str) -> bool:
    """Whether a listener or one of its rules forwards to the target group."""
    holders = [listener.get("DefaultActions") or [] for listener in alb._listeners.values()]
    holders += [rule.get("Actions") or [] for rule in alb._rules.values()]
    return any(target_group in json.dumps(actions) for actions in holders)


def _container_port(definition: dict, name: str | None, port: int | None) -> None:
    container = next((c for c in definition["containerDefinitions"] if c["name"] == name), None)
    if container is None:
        raise invalid(f"The container {name} does not exist in the task definition.")
    if not any(mapping.get("containerPort") == port for mapping in container.get("portMappings") or []):
        raise invalid(f"The container {name} did not have a container port {port} defined.")


def _registries(entries: list[dict]) -> list[dict]:
    for entry in entries:
        arn = entry.get("registryArn", "")
        if arn.rsplit("/", 1)[-1] not in cloudmap._services:
            raise invalid(f"Service registry {arn} does not exist")
    return entries


def _deployment_configuration(given: dict | None) -> dict:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html"""
    given = dict(given or {})
    breaker = {"enable": False, "rollback": False, **(given.get("deploymentCircuitBreaker") or {})}
    alarms = {"alarmNames": [], "rollback": False, "enable": False, **(given.get("alarms") or {})}
    result = {
        "maximumPercent": 200,
        "minimumHealthyPercent": 100,
        "strategy": "ROLLING",
        "bakeTimeInMinutes": 0,
        **given,
    }
    result |= {"deploymentCircuitBreaker": breaker, "alarms": alarms}
    if result["strategy"] != "ROLLING":
        raise Refused("UnsupportedFeatureException", f"Not emulated: the deployment strategy {result['strategy']}.")
    for name in NOT_EMULATED:
        if given.get(name):
            raise Refused("UnsupportedFeatureException", f"Not emulated: deploymentConfiguration.{name}.")
    low, high = result["minimumHealthyPercent"], result["maximumPercent"]
    if high <= 100 and low >= 100:
        raise invalid("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")
    if high < 100:
        raise invalid("maximumPercent must be at least 100.")
    if not 0 <= low <= high:
        raise invalid("minimumHealthyPercent must be between 0 and maximumPercent.")
    if breaker.get("thresholdConfiguration") and breaker["thresholdConfiguration"].get("value", 0) < 1:
        raise invalid("The value of thresholdConfiguration must be greater than 0.")
    if alarms["enable"]:
        if not alarms["alarmNames"]:
            raise invalid("alarmNames cannot be empty when alarms are enabled.")
        stores = (cloudwatch._alarms, cloudwatch._composite_alarms)
        missing = [name for name in alarms["alarmNames"] if not any(name in store for store in stores)]
        if missing:
            raise invalid(f"The following CloudWatch alarms do not exist: {', '.join(missing)}")
    return result


def _executable(enabled: Any, definition: dict, what: str, overrides: dict | None = None) -> None:
    """ECS Exec works with the task's role: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"""
    if enabled and not ((overrides or {}).get("taskRoleArn") or definition.get("taskRoleArn")):
        raise invalid(
            f"{what} because a valid taskRoleArn is not being used. Specify a valid task role in your task definition "
            "and try again."
        )


def _launch(data: dict, cluster: dict) -> tuple[str | None, list | None]:
    strategy, launch_type = data.get("capacityProviderStrategy") or None, data.get("launchType")
    if strategy and launch_type:
        raise invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    if not strategy and not launch_type:
        strategy = cluster.get("defaultCapacityProviderStrategy") or None
        launch_type = None if strategy else "EC2"
    if strategy:
        capacity.check_strategy(strategy, cluster)
        strategy = [{"weight": 0, "base": 0, **item} for item in strategy]
    if launch_type not in (None, "FARGATE"):
        raise invalid("No Container Instances were found in your cluster.")  # only Fargate is emulated
    return launch_type, strategy


def _once(action: str, data: dict, do: Callable[[], Any]) -> Any:
    """A client token makes a repeated request answer what the first one did."""
    token = data.get("clientToken")
    if not token:
        return do()
    key, body = (get_account_id(), get_region(), action, token), json.dumps(data, sort_keys=True)
    if key in _tokens:
        if _tokens[key][0] != body:
            raise Refused("ConflictException", "The client token was already used with different parameters.")
        return _tokens[key][1]
    result = do()
    _tokens[key] = (body, result)
    return result


# Clusters ---------------------------------------------------------------------------------------------------


def _with_capacity(inner: Callable[[dict], tuple]) -> Callable[[dict], tuple]:
    """ministack's function for a cluster, once its capacity providers are in order."""

    def act(data: dict) -> tuple:
        try:
            capacity.check_cluster(data)
        except Refused as error:
            return error_response_json(error.code, str(error), 400)
        return inner(data)

    return act


def _delete_cluster(data: dict) -> dict:
    cluster = _cluster(data)
    arn = cluster["clusterArn"]
    if any(r["clusterArn"] == arn and r["status"] in ("ACTIVE", "DRAINING") for r in ecs._services.values()):
        raise Refused("ClusterContainsServicesException", "The Cluster cannot be deleted while Services are active.")
    if any(r["clusterArn"] == arn and r["lastStatus"] != "STOPPED" for r in ecs._tasks.values()):
        raise Refused("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
    for key in [k for k in ecs._services.keys() if k.startswith(f"{cluster['clusterName']}/")]:
        services.services.pop(ecs._services.pop(key)["serviceArn"], None)
    ecs._clusters.pop(cluster["clusterName"])
    ecs._tags.pop(arn, None)
    return {"cluster": {**cluster, "status": "INACTIVE"}}


# Services ---------------------------------------------------------------------------------------------------


def _create_service(data: dict) -> dict:
    return _once("CreateService", data, lambda: _create(data))


def _create(data: dict) -> dict:
    cluster = _cluster(data)
    name = data.get("serviceName") or ""
    if not NAME.fullmatch(name):
        raise invalid("Invalid service name.")
    key = f"{cluster['clusterName']}/{name}"
    existing = ecs._services.get(key)
    if existing and existing["status"] == "ACTIVE":
        raise invalid("Creation of service was not idempotent.")
    if existing and existing["status"] == "DRAINING":
        raise invalid("Unable to Start a service that is still Draining.")
    definition = definitions.find(data.get("taskDefinition", ""))
    launch_type, strategy = _launch(data, cluster)
    configuration = _deployment_configuration(data.get("deploymentConfiguration"))
    _executable(data.get("enableExecuteCommand"), definition, "The service couldn't be created")
    arn = f"arn:aws:ecs:{get_region()}:{get_account_id()}:service/{key}"
    record = {
        "serviceArn": arn,
        "serviceName": name,
        "clusterArn": cluster["clusterArn"],
        "status": "ACTIVE",
        "loadBalancers": _load_balancers(data.get("loadBalancers") or [], definition),
        "serviceRegistries": _registries(data.get("serviceRegistries") or []),
        "desiredCount": int(data.get("desiredCount") or 0),
        "runningCount": 0,
        "pendingCount": 0,
        "launchType": launch_type,
        "capacityProviderStrategy": strategy,
        "platformVersion": data.get("platformVersion") or "LATEST",
        "platformFamily": "Linux",
        "taskDefinition": definition["taskDefinitionArn"],
        "deploymentConfiguration": configuration,
        "events": [],
        "createdAt": clock.now(),
        "placementConstraints": [],
        "placementStrategy": [],
        "networkConfiguration": _network(data, definition),
        "healthCheckGracePeriodSeconds": int(data.get("healthCheckGracePeriodSeconds") or 0),
        "schedulingStrategy": "REPLICA",
        "deploymentController": data.get("deploymentController") or {"type": "ECS"},
        "createdBy": caller(),
        "enableECSManagedTags": bool(data.get("enableECSManagedTags")),
        "propagateTags": data.get("propagateTags") or "NONE",
        "enableExecuteCommand": bool(data.get("enableExecuteCommand")),
        "availabilityZoneRebalancing": data.get("availabilityZoneRebalancing") or "ENABLED",
        "roleArn": f"arn:aws:iam::{get_account_id()}:role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
    }
    if record["deploymentController"]["type"] != "ECS":
        raise Refused("UnsupportedFeatureException", "Only the ECS deployment controller is emulated.")
    ecs._services[key] = record
    ecs._tags.pop(arn, None)
    if data.get("tags"):
        ecs._tags[arn] = list(data["tags"])
    service = Service(record, definition)
    return {"service": {**service.view(), "tags": data.get("tags") or []}}


def _update_service(data: dict) -> dict:
    cluster = _cluster(data)
    service = _service(data, cluster)
    record = service.record
    definition = definitions.find(data["taskDefinition"]) if data.get("taskDefinition") else service.primary.definition
    changed: dict[str, Any] = {}
    if data.get("networkConfiguration") is not None:
        changed["networkConfiguration"] = _network(data, definition)
    if data.get("loadBalancers") is not None:
        changed["loadBalancers"] = _load_balancers(data["loadBalancers"], definition)
    if data.get("serviceRegistries") is not None:
        changed["serviceRegistries"] = _registries(data["serviceRegistries"])
    if data.get("platformVersion"):
        changed["platformVersion"] = data["platformVersion"]
    if data.get("capacityProviderStrategy") is not None:
        strategy = data["capacityProviderStrategy"] or None
        if strategy:
            capacity.check_strategy(strategy, cluster)
            strategy = [{"weight": 0, "base": 0, **item} for item in strategy]
        changed |= {"capacityProviderStrategy": strategy, "launchType": None if strategy else "FARGATE"}
    executes = data.get("enableExecuteCommand")
    executes = record["enableExecuteCommand"] if executes is None else executes
    _executable(executes, definition, "The service couldn't be updated")
    if data.get("desiredCount") is not None and data["desiredCount"] < 0:
        raise invalid("desiredCount must not be negative.")
    if data.get("deploymentConfiguration") is not None:
        given = {**record["deploymentConfiguration"], **data["deploymentConfiguration"]}
        record["deploymentConfiguration"] = _deployment_configuration(given)
    for key in (
        "healthCheckGracePeriodSeconds",
        "enableExecuteCommand",
        "enableECSManagedTags",
        "propagateTags",
        "availabilityZoneRebalancing",
    ):
        if data.get(key) is not None:
            record[key] = data[key]
    if data.get("desiredCount") is not None and data["desiredCount"] != record["desiredCount"]:
        service.scale(int(data["desiredCount"]))
    changed = {key: value for key, value in changed.items() if value != record.get(key)}
    new_definition = definition["taskDefinitionArn"] != record["taskDefinition"]
    if new_definition and record["loadBalancers"] and "loadBalancers" not in changed:
        for entry in record["loadBalancers"]:
            _container_port(definition, entry.get("containerName"), entry.get("containerPort"))
    if new_definition or changed or data.get("forceNewDeployment"):
        service.deploy(definition, changed)
    service.wake()
    return {"service": service.view()}


def _delete_service(data: dict) -> dict:
    cluster = _cluster(data)
    name = _service_name(data.get("service", ""), cluster)
    record = ecs._services.get(f"{cluster['clusterName']}/{name}") if name else None
    if record is None:
        raise Refused("ServiceNotFoundException", "Service not found.")
    service = services.services[record["serviceArn"]]
    if record["status"] == "INACTIVE":
        raise Refused("ServiceNotFoundException", "Service not found.")
    if record["status"] == "ACTIVE":
        if record["desiredCount"] > 0 and not data.get("force"):
            raise invalid("The service cannot be stopped while it is scaled above 0.")
        service.drain()
        key = f"{cluster['clusterName']}/{name}"
        shown = durations.kept("ecs.service.inactive")
        scheduler.after(shown, service.account, service.region, lambda: _forget_service(key, record))
    return {"service": service.view()}


def _forget_service(key: str, record: dict) -> None:
    if ecs._services.get(key) is record:
        del ecs._services[key]
        services.services.pop(record["serviceArn"], None)
        ecs._tags.pop(record["serviceArn"], None)


def _describe_services(data: dict) -> dict:
    cluster = _cluster(data)
    references = data.get("services") or []
    if not references:
        raise invalid("Services cannot be empty.")
    if len(references) > 10:
        raise invalid("services can have at most 10 items.")
    found, failures = [], []
    for reference in references:
        name = _service_name(reference, cluster)
        record = ecs._services.get(f"{cluster['clusterName']}/{name}") if name else None
        if record is None:
            own = f"arn:aws:ecs:{get_region()}:{get_account_id()}:service/{cluster['clusterName']}/{reference}"
            failures.append({"arn": reference if reference.startswith("arn:") else own, "reason": "MISSING"})
            continue
        view = services.services[record["serviceArn"]].view()
        if "TAGS" in (data.get("include") or []):
            view["tags"] = ecs._tags.get(record["serviceArn"], [])
        found.append(view)
    return {"services": found, "failures": failures}


def _list_services(data: dict) -> dict:
    cluster = _cluster(data)
    chosen = [
        record["serviceArn"]
        for key, record in ecs._services.items()
        if key.startswith(f"{cluster['clusterName']}/")
        and record["status"] != "INACTIVE"
        and data.get("launchType") in (None, record["launchType"])
        and data.get("schedulingStrategy") in (None, record["schedulingStrategy"])
    ]
    return page(chosen, data, 10, "serviceArns")


# Service deployments ----------------------------------------------------------------------------------------


def _list_service_deployments(data: dict) -> dict:
    cluster = _cluster(data)
    name = _service_name(data.get("service", ""), cluster)
    record = ecs._services.get(f"{cluster['clusterName']}/{name}") if name else None
    if record is None:
        raise Refused("ServiceNotFoundException", "Service not found.")
    statuses, when = data.get("status") or [], data.get("createdAt") or {}
    chosen = [
        d
        for d in services.history.values()
        if d.service is services.services[record["serviceArn"]]
        and (not statuses or d.status in statuses)
        and d.created > clock.now() - durations.kept("ecs.deployments.kept")
        and d.created >= (when.get("after") or 0)
        and d.created <= (when.get("before") or d.created)
    ]
    return page([d.brief() for d in chosen], data, 20, "serviceDeployments", lambda it: it["serviceDeploymentArn"])


def _own(arn: str) -> bool:
    return arn.split(":")[3:5] == [get_region(), get_account_id()]


def _describe_service_deployments(data: dict) -> dict:
    arns = data.get("serviceDeploymentArns") or []
    if len(arns) > 20:
        raise invalid("serviceDeploymentArns can have at most 20 items.")
    known = [arn for arn in arns if arn in services.history and _own(arn)]
    failures = [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known]
    return {"serviceDeployments": [services.history[arn].view() for arn in known], "failures": failures}


def _describe_service_revisions(data: dict) -> dict:
    arns = data.get("serviceRevisionArns") or []
    if len(arns) > 20:
        raise invalid("serviceRevisionArns can have at most 20 items.")
    known = [arn for arn in arns if arn in services.revisions and _own(arn)]
    failures = [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known]
    return {
        "serviceRevisions": [services.revisions[arn]["_deployment"].revision() for arn in known],
        "failures": failures,
    }


def _stop_service_deployment(data: dict) -> dict:
    arn, kind = data.get("serviceDeploymentArn", ""), data.get("stopType") or "ROLLBACK"
    under = services.history.get(arn) if _own(arn) else None
    if under is None:
        raise Refused(
            "ServiceDeploymentNotFoundException", "The service deployment ARN that you specified isn't found."
        )
    if kind not in ("ROLLBACK", "ABORT"):
        raise invalid(f"Invalid stop type: {kind}")
    if not under.open:
        raise Refused(
            "ConflictException", f"The service deployment cannot be stopped because it is in the {under.status} state."
        )
    under.service.stop_deployment(under, kind)
    return {"serviceDeploymentArn": arn}


# Tasks ------------------------------------------------------------------------------------------------------


def _run_task(data: dict) -> dict:
    return _once("RunTask", data, lambda: _run(data))


def _run(data: dict) -> dict:
    cluster = _cluster(data)
    definition = definitions.find(data.get("taskDefinition", ""))
    count = int(data.get("count") or 1)
    if not 1 <= count <= 10:
        raise invalid("Count must be between 1 and 10.")
    launch_type, strategy = _launch(data, cluster)
    names = {c["name"] for c in definition["containerDefinitions"]}
    for override in (data.get("overrides") or {}).get("containerOverrides") or []:
        if override.get("name") not in names:
            raise invalid(
                f"Override for container named {override.get('name')} is not a container in the TaskDefinition."
            )
    tags = list(data.get("tags") or [])
    if data.get("propagateTags") == "TASK_DEFINITION":
        own = {tag["key"] for tag in tags}
        tags += [tag for tag in ecs._tags.get(definition["taskDefinitionArn"], []) if tag["key"] not in own]
    if data.get("enableECSManagedTags"):
        tags.append({"key": "aws:ecs:clusterName", "value": cluster["clusterName"]})
    request = {
        **data,
        "networkConfiguration": _network(data, definition),
        "launchType": launch_type or "FARGATE",
        "tags": tags,
    }
    _executable(data.get("enableExecuteCommand"), definition, "The task couldn't be run", data.get("overrides"))
    group = data.get("group") or f"family:{definition['family']}"
    subnets = ((request["networkConfiguration"] or {}).get("awsvpcConfiguration") or {}).get("subnets") or []
    started: list[Task] = []
    failures: list[dict] = []
    for _ in range(count):
        if strategy:
            placed = [task.record["capacityProviderName"] for task in started]
            request["capacityProviderName"] = capacity.choose(strategy, placed)
        try:
            subnet = capacity.place(
                group, subnets, request.get("capacityProviderName") or "FARGATE", int(definition.get("cpu") or 0)
            )
        except capacity.NoCapacity as error:
            failures.append({"reason": str(error)})
            continue
        started.append(Task(definition, cluster, request, subnet))
    shown = [json.loads(json.dumps(ecs._sanitize(task.record))) for task in started]
    return {"tasks": shown, "failures": failures}


def _task_record(reference: str, cluster: dict) -> dict | None:
    found = ecs._resolve_task_ref(reference or "")
    if not found or found[1] not in (None, cluster["clusterName"]):
        return None
    record = ecs._tasks.get(f"arn:aws:ecs:{get_region()}:{get_account_id()}:task/{cluster['clusterName']}/{found[0]}")
    return record if record and record["clusterArn"] == cluster["clusterArn"] else None


def _stop_task(data: dict) -> dict:
    record = _task_record(data.get("task", ""), _cluster(data))
    if record is None:
        raise invalid("The referenced task was not found.")
    task = tasks.live.get(record["taskArn"])
    if task:
        task.stop("UserInitiated", data.get("reason") or "Task stopped by user")
    return {"task": record}


def _describe_tasks(data: dict) -> dict:
    cluster = _cluster(data)
    references = data.get("tasks") or []
    if not references:
        raise invalid("Tasks cannot be empty.")
    if len(references) > 100:
        raise invalid("tasks can have at most 100 items.")
    found, failures = [], []
    for reference in references:
        record = _task_record(reference, cluster)
        if record is None:
            own = f"arn:aws:ecs:{get_region()}:{get_account_id()}:task/{cluster['clusterName']}/{reference}"
            failures.append({"arn": reference if reference.startswith("arn:") else own, "reason": "MISSING"})
        else:
            tags = ecs._tags.get(record["taskArn"], []) if "TAGS" in (data.get("include") or []) else []
            found.append({**record, "tags": tags})
    return {"tasks": found, "failures": failures}


def _list_tasks(data: dict) -> dict:
    cluster = _cluster(data)
    wanted = data.get("desiredStatus") or "RUNNING"
    group = None
    if data.get("serviceName"):
        name = _service_name(data["serviceName"], cluster)
        if name is None or f"{cluster['clusterName']}/{name}" not in ecs._services:
            raise Refused("ServiceNotFoundException", "Service not found.")
        group = f"service:{name}"
    chosen = [
        arn
        for arn, record in ecs._tasks.items()
        if record["clusterArn"] == cluster["clusterArn"]
        and record["desiredStatus"] == wanted
        and group in (None, record["group"])
        and data.get("startedBy") in (None, record.get("startedBy"))
        and data.get("launchType") in (None, record["launchType"])
        and (not data.get("family") or record["taskDefinitionArn"].rsplit("/", 1)[-1].split(":")[0] == data["family"])
    ]
    return page(chosen, data, 100, "taskArns")


def _protection(data: dict, change: Callable[[Task], str | None] | None) -> dict:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateTaskProtection.html; why a task is among the
    failures: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/api_failures_messages.html
    """
    cluster = _cluster(data)
    references = data.get("tasks") or []
    if len(references) > PROTECTION_TASKS:
        raise invalid(f"Tasks cannot have more than {PROTECTION_TASKS} elements.")
    protected, failures = [], []
    for reference in references:
        record = _task_record(reference, cluster)
        task = tasks.live.get(record["taskArn"]) if record else None
        if task is None:
            own = f"arn:aws:ecs:{get_region()}:{get_account_id()}:task/{cluster['clusterName']}/{reference}"
            failures.append({"arn": reference if reference.startswith("arn:") else own, "reason": "MISSING"})
        elif task.service is None or not task.wanted:
            failures.append({"arn": task.arn, "reason": "TASK_NOT_VALID"})
        else:
            blocked = change(task) if change else None
            if blocked:
                failures.append({"arn": task.arn, "reason": blocked})
                continue
            until = task.protected_until if task.protected else None
            protected.append({"taskArn": task.arn, "protectionEnabled": task.protected, "expirationDate": until})
    return {"protectedTasks": protected, "failures": failures}


def _update_task_protection(data: dict) -> dict:
    enabled, minutes = data.get("protectionEnabled"), data.get("expiresInMinutes")
    if not data.get("tasks"):
        raise invalid("Tasks cannot be empty.")
    if enabled is None:
        raise invalid("protectionEnabled must not be null.")
    if minutes is not None and not 1 <= minutes <= PROTECTION_MINUTES_LIMIT:
        raise invalid(f"expiresInMinutes must be between 1 and {PROTECTION_MINUTES_LIMIT}.")

    def change(task: Task) -> str | None:
        service = task.service
        if enabled and not task.protected and sum(one.protected for one in service.tasks) >= service.desired:
            return "DEPLOYMENT_BLOCKED"
        seconds = (minutes or PROTECTION_MINUTES) * 60
        task.protected_until = clock.now() + seconds if enabled else None
        task.after(seconds, service.wake)
        service.wake()
        return None

    return _protection(data, change)


def _get_task_protection(data: dict) -> dict:
    if data.get("tasks"):
        return _protection(data, None)
    cluster = _cluster(data)
    mine = [task.arn for task in tasks.live.values() if task.record["clusterArn"] == cluster["clusterArn"]]
    return _protection({**data, "tasks": mine[:PROTECTION_TASKS]}, None)


def _execute_command(data: dict) -> dict:
    """Sessions are not emulated, so a task that would have one says that its agent cannot be reached.
    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
    """
    record = _task_record(data.get("task", ""), _cluster(data))
    if record is None:
        raise invalid("The referenced task was not found.")
    if not data.get("interactive"):
        raise invalid("Interactive is the only mode supported currently.")
    names = [container["name"] for container in record["containers"]]
    if data.get("container") and data["container"] not in names:
        raise invalid(f"The container {data['container']} was not found in the task.")
    if not data.get("container") and len(names) > 1:
        raise invalid("A container name must be specified for tasks with multiple containers.")
    if not record["enableExecuteCommand"] or record["lastStatus"] != "RUNNING":
        raise invalid(NOT_EXECUTABLE)
    message = "The execute command failed due to an internal error. Try again later."
    raise Refused("TargetNotConnectedException", message)


HANDLERS: dict[str, tuple[str, Callable[[dict], dict]]] = {  # action: (ministack's function, ours)
    "DeleteCluster": ("_delete_cluster", _delete_cluster),
    "RegisterTaskDefinition": ("_register_task_definition", definitions.register),
    "DescribeTaskDefinition": ("_describe_task_definition", definitions.describe),
    "DeregisterTaskDefinition": ("_deregister_task_definition", definitions.deregister),
    "DeleteTaskDefinitions": ("_delete_task_definitions", definitions.delete),
    "ListTaskDefinitions": ("_list_task_definitions", definitions.list_arns),
    "CreateService": ("_create_service", _create_service),
    "UpdateService": ("_update_service", _update_service),
    "DeleteService": ("_delete_service", _delete_service),
    "DescribeServices": ("_describe_services", _describe_services),
    "ListServices": ("_list_services", _list_services),
    "ListServiceDeployments": ("_list_service_deployments", _list_service_deployments),
    "DescribeServiceDeployments": ("_describe_service_deployments", _describe_service_deployments),
    "DescribeServiceRevisions": ("_describe_service_revisions", _describe_service_revisions),
    "RunTask": ("_run_task", _run_task),
    "StopTask": ("_stop_task", _stop_task),
    "DescribeTasks": ("_describe_tasks", _describe_tasks),
    "ListTasks": ("_list_tasks", _list_tasks),
    "UpdateTaskProtection": ("_update_task_protection", _update_task_protection),
    "GetTaskProtection": ("_get_task_protection", _get_task_protection),
    "ExecuteCommand": ("_execute_command", _execute_command),
}


def install() -> None:
    for action, (name, ours) in HANDLERS.items():
        if not hasattr(ecs, name):
            raise RuntimeError(f"this version of ministack has no ecs.{name}")
        answer = answering(ours)
        ecs._ACTION_MAP[action] = answer
        setattr(ecs, name, answer)  # CloudFormation calls it by name
    ecs._ACTION_MAP["StopServiceDeployment"] = answering(_stop_service_deployment)
    for action in ("CreateCluster", "PutClusterCapacityProviders"):
        ecs._ACTION_MAP[action] = _with_capacity(ecs._ACTION_MAP[action])
    credentials.install()
    agent.install()
    capacity.install()
    ecs._get_docker = lambda: None  # no containers but ours


def reset() -> None:
    with scheduler.lock:
        scheduler.clear()
        forgotten = list(tasks.live.values())
        tasks.live.clear()
        services.reset()
        capacity.reset()
        _tokens.clear()
        credentials.reset()
    for task in forgotten:
        for container in task.containers:
            if container.process is not None:
                container.process.kill()
        task.release()


def stop() -> None:
    reset()
