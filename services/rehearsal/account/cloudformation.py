"""CloudFormation: the resource types that ministack lacks, AWS's waiting, and AWS's refusals.

* Types: EIP, NatGateway, security group rules of their own, flow logs, service-linked roles, scalable targets and
  policies, …
* Waiting: a resource takes as long as `durations` says. ministack works through a stack one resource at a time; here
  a resource is complete when AWS, which works in parallel, would have it complete: its start is the end of the last
  resource it depends on.
* Refusals: what is in use is not deleted, a name that is taken is not made twice.

With whose rights it acts is in stackrights.py.
"""

import contextvars
import functools
import json
import random
import re
import uuid
from dataclasses import dataclass, field

from account import autoscaling, clock, durations, identities, network, stackrights

# What takes long on AWS. Types that are not here take `cloudformation.resource`.
SLOW_CREATE = {
    "AWS::EC2::NatGateway": "nat.create",
    "AWS::IAM::Role": "cloudformation.iam",
    "AWS::IAM::Policy": "cloudformation.iam",
    "AWS::IAM::ManagedPolicy": "cloudformation.iam",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "elb.create",
    "AWS::ServiceDiscovery::PrivateDnsNamespace": "namespace.create",
    "AWS::RDS::DBInstance": "rds.create",
}
SLOW_DELETE = {
    "AWS::EC2::NatGateway": "nat.delete",
    "AWS::ElasticLoadBalancingV2::LoadBalancer": "elb.delete",
    "AWS::ServiceDiscovery::PrivateDnsNamespace": "namespace.delete",
    "AWS::RDS::DBInstance": "rds.delete",
}


NAME_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"


@dataclass
class Clock:
    """When each resource of one stack operation is over on an AWS that works in parallel."""

    waits_for: dict[str, set[str]]
    # What was made of IAM that others do not see yet: waited for by what needs it, and by what a new stack ends with.
    unseen: set[str] = field(default_factory=set)
    is_update: bool = False
    last: str = ""
    started: float = field(default_factory=clock.monotonic)
    over: dict[str, float] = field(default_factory=dict)

    def finish(self, logical_id: str, name: str) -> None:
        begin = max(
            [self.started, *(self.over[other] for other in self.waits_for.get(logical_id, ()) if other in self.over)]
        )
        end = self.over[logical_id] = begin + durations.seconds(name)
        left = end - clock.monotonic()
        if left > 0:
            clock.sleep(left)


_clock: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("rehearsal_stack_clock", default=None)


def _waits() -> None:
    from ministack.core.responses import get_account_id
    from ministack.services.cloudformation import changesets, engine, handlers, provisioners, stacks

    deploy, delete = stacks._deploy_stack_async, stacks._delete_stack_async
    sort = stacks._topological_sort
    provision, remove = provisioners._provision_resource, provisioners._delete_resource
    update = provisioners._update_resource

    def needs(template: dict) -> dict[str, set[str]]:
        resources = (template or {}).get("Resources", {})
        return {name: engine._extract_deps(one, set(resources)) for name, one in resources.items()}

    def ordered(resources, conditions):
        order = sort(resources, conditions)
        clock = _clock.get()
        if clock is not None and order and not clock.is_update:
            clock.last = order[-1]
        return order

    async def deployed(stack_name, stack_id, template, values, disable_rollback, tags, is_update=False, *args, **more):
        _clock.set(Clock(needs(template), is_update=is_update))
        stackrights.begin(stack_name, template)
        return await deploy(stack_name, stack_id, template, values, disable_rollback, tags, is_update, *args, **more)

    async def deleted(stack_name, *args, **kwargs):
        from ministack.services.cloudformation import _stacks

        stackrights.begin(stack_name, None)
        forward = needs((_stacks.get(stack_name) or {}).get("_template", {}))
        _clock.set(Clock({name: {user for user, its in forward.items() if name in its} for name in forward}))
        return await delete(stack_name, *args, **kwargs)

    def settle(resource_type: str, physical_id: str) -> None:
        if (
            resource_type == "AWS::EC2::NatGateway"
        ):  # its own clock, with another jitter, must not be behind the stack's
            network.settle(physical_id)
        if resource_type.startswith("AWS::IAM::"):  # CloudFormation waits until IAM's other readers see it
            identities.wait(get_account_id())

    # A type without an update of its own is made anew in place, which is no creation.
    in_place: contextvars.ContextVar[bool] = contextvars.ContextVar("rehearsal_in_place", default=False)

    def updated(resource_type, physical_id, old, new, stack_name, logical_id=None, *rest):
        if old == new:
            return update(resource_type, physical_id, old, new, stack_name, logical_id, *rest)
        if provisioners._replacing_change(resource_type, old, new):
            return update(resource_type, physical_id, old, new, stack_name, logical_id, *rest)
        stackrights.authorise(resource_type, "update", logical_id or "", physical_id, new, stack_name, old)
        token = in_place.set(True)
        try:
            made = update(resource_type, physical_id, old, new, stack_name, logical_id, *rest)
            settle(resource_type, physical_id)
            return made
        finally:
            in_place.reset(token)

    def provisioned(resource_type, logical_id, props, stack_name):
        clock = _clock.get()
        if clock is not None and clock.unseen & clock.waits_for.get(logical_id, set()):
            clock.unseen.clear()
            identities.wait(get_account_id())
        if not in_place.get():
            stackrights.authorise(resource_type, "create", logical_id, "", props, stack_name)
        made = provision(resource_type, logical_id, props, stack_name)
        if clock is not None:
            clock.finish(logical_id, SLOW_CREATE.get(resource_type, "cloudformation.resource"))
            if resource_type.startswith("AWS::IAM::") and clock.last not in ("", logical_id):
                clock.unseen.add(logical_id)
            else:
                settle(resource_type, made[0])
            if clock.unseen and logical_id == clock.last:
                identities.wait(get_account_id())
        return made

    def removed(resource_type, physical_id, props, stack_name=None, logical_id=None):
        stackrights.authorise(resource_type, "delete", logical_id or "", physical_id, props, stack_name or "")
        clock = _clock.get()
        if clock is None or logical_id is None:
            return remove(resource_type, physical_id, props, stack_name, logical_id)
        remove(resource_type, physical_id, props, stack_name, logical_id)
        clock.finish(logical_id, SLOW_DELETE.get(resource_type, "cloudformation.resource"))
        if not resource_type.startswith("AWS::IAM::"):  # nothing waits to see what is gone
            settle(resource_type, physical_id)

    for module in (stacks, handlers, changesets):
        for name, replacement in (("_deploy_stack_async", deployed), ("_delete_stack_async", deleted)):
            if hasattr(module, name):
                setattr(module, name, replacement)
    for module in (provisioners, stacks):
        module._provision_resource, module._delete_resource = provisioned, removed
        module._update_resource = updated
    stacks._topological_sort = ordered
    stacks._runs_on_worker_thread = lambda resource_type: True  # every type may wait now


def _text(answer) -> str:
    """An in-process call's body; ValueError (which fails the resource) when it was refused."""
    status, _, body = answer
    text = body.decode() if isinstance(body, bytes) else str(body)
    if status >= 400:
        message = text.split("<Message>")[1].split("</Message>")[0] if "<Message>" in text else text
        raise ValueError(message)
    return text


def _between(text: str, tag: str) -> str:
    return text.split(f"<{tag}>")[1].split(f"</{tag}>")[0]


def _bucket_rules(props: dict) -> bytes:
    def rule(one: dict) -> str:
        days = one.get("ExpirationInDays")
        parts = (one.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation")
        return (
            f"<Rule><Status>{one.get('Status')}</Status><Filter><Prefix>{one.get('Prefix', '')}</Prefix></Filter>"
            + (f"<Expiration><Days>{days}</Days></Expiration>" if days else "")
            + (
                f"<AbortIncompleteMultipartUpload><DaysAfterInitiation>{parts}</DaysAfterInitiation>"
                "</AbortIncompleteMultipartUpload>"
                if parts
                else ""
            )
            + "</Rule>"
        )

    rules = "".join(rule(one) for one in props.get("Rules") or [])
    return f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>".encode()


def _bucket_owner(props: dict) -> bytes:
    rules = "".join(
        f"<Rule><ObjectOwnership>{one.get('ObjectOwnership')}</ObjectOwnership></Rule>" for one in props["Rules"]
    )
    return f"<OwnershipControls>{rules}</OwnershipControls>".encode()


def _bucket_encryption(props: dict) -> bytes:
    rules = "".join(
        "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>"
        f"{(one.get('ServerSideEncryptionByDefault') or {}).get('SSEAlgorithm')}"
        "</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>"
        for one in props["ServerSideEncryptionConfiguration"]
    )
    return f"<ServerSideEncryptionConfiguration>{rules}</ServerSideEncryptionConfiguration>".encode()


def _buckets() -> None:
    """What ministack leaves out of a bucket's properties."""
    from ministack.services import s3
    from ministack.services.cloudformation import provisioners

    provisioners._S3_BUCKET_CONFIGURATIONS += (
        ("LifecycleConfiguration", _bucket_rules, s3._put_bucket_lifecycle, s3._delete_bucket_lifecycle),
        ("BucketEncryption", _bucket_encryption, s3._put_bucket_encryption, s3._delete_bucket_encryption),
        ("OwnershipControls", _bucket_owner, s3._put_bucket_ownership_controls, s3._delete_bucket_ownership_controls),
    )


def _types() -> None:
    from ministack.services import alb, ec2, ecs, iam
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS
    tagged = provisioners._ec2_apply_tags

    def address_create(logical_id, props, stack_name):
        text = _text(ec2._ACTION_MAP["AllocateAddress"]({"Domain": ["vpc"]}))
        allocation, ip = _between(text, "allocationId"), _between(text, "publicIp")
        tagged(allocation, props)
        return ip, {"AllocationId": allocation, "PublicIp": ip}

    def address_update(physical_id, old, new, stack_name, logical_id=None):
        allocation = next(a for a, record in ec2._addresses.items() if record["PublicIp"] == physical_id)
        tagged(allocation, new, old)
        return physical_id, {"AllocationId": allocation, "PublicIp": physical_id}

    def address_delete(physical_id, props):
        for allocation, record in list(ec2._addresses.items()):
            if record["PublicIp"] == physical_id:
                _text(ec2._ACTION_MAP["ReleaseAddress"]({"AllocationId": [allocation]}))

    def nat_create(logical_id, props, stack_name):
        given = {name: [props[name]] for name in ("SubnetId", "AllocationId", "ConnectivityType") if props.get(name)}
        nat = _between(_text(ec2._ACTION_MAP["CreateNatGateway"](given)), "natGatewayId")
        tagged(nat, props)
        return nat, {"NatGatewayId": nat}

    def nat_update(physical_id, old, new, stack_name, logical_id=None):
        if any(old.get(name) != new.get(name) for name in ("SubnetId", "AllocationId", "ConnectivityType")):
            return nat_create(logical_id, new, stack_name)
        tagged(physical_id, new, old)
        return physical_id, {"NatGatewayId": physical_id}

    def nat_delete(physical_id, props):
        if physical_id in ec2._nat_gateways:
            _text(ec2._ACTION_MAP["DeleteNatGateway"]({"NatGatewayId": [physical_id]}))

    def rule(direction: str):
        egress = direction == "IpPermissionsEgress"

        def group(props):
            found = ec2._security_groups.get(props.get("GroupId"))
            if found is None:
                raise ValueError(f"The security group '{props.get('GroupId')}' does not exist")
            return found

        def same(one, other):
            return ec2._strip_descriptions(one) == ec2._strip_descriptions(other)

        def create(logical_id, props, stack_name):
            found, (permission,) = group(props), provisioners._ec2_sg_permissions([props])
            if any(same(permission, there) for there in found[direction]):
                raise ValueError(f"the specified rule already exists in security group {props['GroupId']}")
            found[direction].append(permission)
            return ec2._sg_rule_id(props["GroupId"], egress, permission), {}

        def delete(physical_id, props):
            found = ec2._security_groups.get(props.get("GroupId"))
            if found is not None:
                (permission,) = provisioners._ec2_sg_permissions([props])
                found[direction] = [there for there in found[direction] if not same(permission, there)]

        def update(physical_id, old, new, stack_name, logical_id=None):
            delete(physical_id, old)
            return create(logical_id, new, stack_name)

        return {"create": create, "delete": delete, "update": update}

    def flow_log_create(logical_id, props, stack_name):
        given = {"ResourceId.1": [props["ResourceId"]], "ResourceType": [props["ResourceType"]]}
        given |= {
            name: [props[name]]
            for name in ("TrafficType", "LogDestinationType", "LogDestination", "LogGroupName")
            if props.get(name)
        }
        text = _text(ec2._ACTION_MAP["CreateFlowLogs"](given))
        made = text.split("<flowLogIdSet><item>")[1].split("</item>")[0]
        tagged(made, props)
        return made, {"Id": made}

    def flow_log_delete(physical_id, props):
        ec2._flow_logs.pop(physical_id, None)

    def linked_role_create(logical_id, props, stack_name):
        text = _text(iam._create_service_linked_role({name: [str(value)] for name, value in props.items()}))
        return _between(text, "RoleName"), {"RoleName": _between(text, "RoleName")}

    def linked_role_delete(physical_id, props):
        iam._roles.pop(physical_id, None)

    async def _answered(action, data):
        return await autoscaling.call(action, data)

    def scaling(action: str, data: dict) -> dict:
        import asyncio

        from ministack import app

        try:
            return asyncio.run_coroutine_threadsafe(_answered(action, data), app._MAIN_LOOP).result(30)
        except autoscaling.Refused as refused:
            raise ValueError(f"{refused} (Service: ApplicationAutoScaling, Error Code: {refused.code})") from refused

    def target_key(physical_id: str) -> dict:
        return dict(zip(("ResourceId", "ScalableDimension", "ServiceNamespace"), physical_id.split("|")))

    def target_create(logical_id, props, stack_name):
        data = {name: int(value) if name in ("MinCapacity", "MaxCapacity") else value for name, value in props.items()}
        scaling("RegisterScalableTarget", {name: data[name] for name in data if name != "Tags"})
        made = f"{props['ResourceId']}|{props['ScalableDimension']}|{props['ServiceNamespace']}"
        return made, {"Id": made}

    def target_update(physical_id, old, new, stack_name, logical_id=None):
        return target_create(logical_id, new, stack_name)

    def target_delete(physical_id, props):
        if autoscaling.arn_of(target_key(physical_id)["ResourceId"]):
            scaling("DeregisterScalableTarget", target_key(physical_id))

    def policy_create(logical_id, props, stack_name):
        data = {name: value for name, value in props.items() if name != "ScalingTargetId"}
        if props.get("ScalingTargetId"):
            data |= target_key(props["ScalingTargetId"])
        arn = scaling("PutScalingPolicy", data)["PolicyARN"]
        return arn, {"Arn": arn}

    def policy_update(physical_id, old, new, stack_name, logical_id=None):
        return policy_create(logical_id, new, stack_name)

    def policy_delete(physical_id, props):
        resource, name = physical_id.split(":resource/ecs/")[1].split(":policyName/")
        data = {
            "ServiceNamespace": "ecs",
            "ResourceId": resource,
            "ScalableDimension": autoscaling.DIMENSION,
            "PolicyName": name,
        }
        if autoscaling.arn_of(resource):
            scaling("DeleteScalingPolicy", data)

    def capacity_create(logical_id, props, stack_name):
        cluster = ecs._clusters.get(props["Cluster"].rpartition("/")[2])
        if cluster is None:
            raise ValueError("Cluster not found.")
        cluster["capacityProviders"] = props.get("CapacityProviders", [])
        cluster["defaultCapacityProviderStrategy"] = provisioners._pascal_to_camel(
            props.get("DefaultCapacityProviderStrategy") or []
        )
        return props["Cluster"], {}

    def capacity_update(physical_id, old, new, stack_name, logical_id=None):
        return capacity_create(logical_id, new, stack_name)

    def certificate_create(logical_id, props, stack_name):
        listener = alb._listeners.get(props["ListenerArn"])
        if listener is None:
            raise ValueError(f"Listener '{props['ListenerArn']}' not found")
        listener.setdefault("Certificates", []).extend(props["Certificates"])
        return f"{props['ListenerArn']}|{uuid.uuid4().hex[:8]}", {}

    handlers["AWS::EC2::EIP"] = {"create": address_create, "update": address_update, "delete": address_delete}
    handlers["AWS::EC2::NatGateway"] = {"create": nat_create, "update": nat_update, "delete": nat_delete}
    handlers["AWS::EC2::SecurityGroupIngress"] = rule("IpPermissions")
    handlers["AWS::EC2::SecurityGroupEgress"] = rule("IpPermissionsEgress")
    handlers["AWS::EC2::FlowLog"] = {"create": flow_log_create, "delete": flow_log_delete}
    handlers["AWS::IAM::ServiceLinkedRole"] = {"create": linked_role_create, "delete": linked_role_delete}
    handlers["AWS::ApplicationAutoScaling::ScalableTarget"] = {
        "create": target_create,
        "update": target_update,
        "delete": target_delete,
    }
    handlers["AWS::ApplicationAutoScaling::ScalingPolicy"] = {
        "create": policy_create,
        "update": policy_update,
        "delete": policy_delete,
    }
    handlers["AWS::ECS::ClusterCapacityProviderAssociations"] = {
        "create": capacity_create,
        "update": capacity_update,
        "delete": lambda physical_id, props: None,
    }
    handlers["AWS::ElasticLoadBalancingV2::ListenerCertificate"] = {
        "create": certificate_create,
        "delete": lambda physical_id, props: None,
    }
    for name in ("AWS::EC2::EIP", "AWS::EC2::NatGateway", "AWS::EC2::FlowLog"):
        provisioners._STACK_TAG_PROPERTY[name] = ("Tags", "list")


def _refusals() -> None:
    """Deletes go through the service's own API, which refuses what is in use; creates refuse a taken name and a
    missing policy.
    """
    from ministack.services import alb, cloudwatch_logs, ec2, ecs, iam, rds, servicediscovery
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS

    def through(resource_type: str, delete) -> None:
        handlers[resource_type] = {**handlers[resource_type], "delete": delete}

    def group_delete(physical_id, props):
        if physical_id in ec2._security_groups:
            _text(ec2._ACTION_MAP["DeleteSecurityGroup"]({"GroupId": [physical_id]}))
            ec2._tags.pop(physical_id, None)

    def subnet_delete(physical_id, props):
        if physical_id in ec2._subnets:
            _text(ec2._ACTION_MAP["DeleteSubnet"]({"SubnetId": [physical_id]}))
            ec2._tags.pop(physical_id, None)

    def cluster_delete(physical_id, props):
        if physical_id in ecs._clusters:
            status, _, body = ecs._ACTION_MAP["DeleteCluster"]({"cluster": physical_id})
            if status >= 400:
                raise ValueError(json.loads(body)["message"])

    def subnet_group_delete(physical_id, props):
        if physical_id in rds._subnet_groups:
            _text(rds._ACTION_MAP["DeleteDBSubnetGroup"]({"DBSubnetGroupName": [physical_id]}))

    through("AWS::EC2::SecurityGroup", group_delete)
    through("AWS::EC2::Subnet", subnet_delete)
    through("AWS::ECS::Cluster", cluster_delete)
    if hasattr(rds, "_subnet_groups"):
        through("AWS::RDS::DBSubnetGroup", subnet_group_delete)

    make_group = handlers["AWS::EC2::SecurityGroup"]["create"]

    def group_create(logical_id, props, stack_name):
        if not props.get("GroupName"):  # CloudFormation appends a part of its own to names it makes
            props = {
                **props,
                "GroupName": f"{stack_name}-{logical_id}-{''.join(random.choices(NAME_LETTERS, k=12))}",
            }
        for group in ec2._security_groups.values():
            if group["GroupName"] == props["GroupName"] and group["VpcId"] == props.get("VpcId", ec2._DEFAULT_VPC_ID):
                raise ValueError(f"{props['GroupName']} already exists in VPC {group['VpcId']}")
        return make_group(logical_id, props, stack_name)

    change_group = handlers["AWS::EC2::SecurityGroup"]["update"]

    def group_update(physical_id, old, new, stack_name, logical_id=None):
        group = ec2._security_groups.get(physical_id)
        if group is not None and not new.get("GroupName") and not old.get("GroupName"):
            old, new = ({**props, "GroupName": group["GroupName"]} for props in (old, new))
        return change_group(physical_id, old, new, stack_name, logical_id)

    handlers["AWS::EC2::SecurityGroup"] = {
        **handlers["AWS::EC2::SecurityGroup"],
        "create": group_create,
        "update": group_update,
    }

    def policies_exist(props: dict) -> None:
        for arn in [*(props.get("ManagedPolicyArns") or []), *filter(None, [props.get("PermissionsBoundary")])]:
            if not iam._policy_exists(arn):
                raise ValueError(f"Policy {arn} does not exist or is not attachable.")

    def checked(resource_type: str, method: str, check) -> None:
        inner = handlers[resource_type][method]
        position = 1 if method == "create" else 2  # create(id, props, stack); update(id, old, new, stack, …)

        def call(*given, **named):
            check(given[position])
            return inner(*given, **named)

        handlers[resource_type] = {**handlers[resource_type], method: call}

    for entity in ("AWS::IAM::Role", "AWS::IAM::User"):
        for method in ("create", "update"):
            checked(entity, method, policies_exist)

    def free(property_name: str, there):
        def check(props: dict) -> None:
            name = props.get(property_name)
            if name and there(name):
                raise ValueError(f"{name} already exists")

        return check

    taken = {
        "AWS::ECS::Cluster": ("ClusterName", lambda name: (ecs._clusters.get(name) or {}).get("status") == "ACTIVE"),
        "AWS::IAM::Role": ("RoleName", lambda name: name in iam._roles),
        "AWS::IAM::ManagedPolicy": (
            "ManagedPolicyName",
            lambda name: any(one["PolicyName"] == name for one in iam._policies.values()),
        ),
        "AWS::Logs::LogGroup": ("LogGroupName", lambda name: name in cloudwatch_logs._log_groups),
        "AWS::ElasticLoadBalancingV2::LoadBalancer": (
            "Name",
            lambda name: any(one["LoadBalancerName"] == name for one in alb._lbs.values()),
        ),
        "AWS::ElasticLoadBalancingV2::TargetGroup": (
            "Name",
            lambda name: any(one["TargetGroupName"] == name for one in alb._tgs.values()),
        ),
        "AWS::RDS::DBSubnetGroup": ("DBSubnetGroupName", lambda name: name.lower() in rds._subnet_groups),
        "AWS::ServiceDiscovery::PrivateDnsNamespace": (
            "Name",
            lambda name: any(one["Name"] == name for one in servicediscovery._namespaces.values()),
        ),
    }
    for resource_type, (property_name, there) in taken.items():
        checked(resource_type, "create", free(property_name, there))


# ministack's refusals that repeat a parameter's value, which may be a password: what AWS says instead.
REPEATS = re.compile(r"(Parameter '[^']*') value '.*' is not (in AllowedValues|a valid )", re.DOTALL)


def _parameters() -> None:
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/parameters-section-structure.html: nobody is shown
    the value of a NoEcho parameter.
    """
    from ministack.services.cloudformation import changesets, handlers

    resolve = handlers._resolve_parameters

    @functools.wraps(resolve)
    def resolved(*given, **options):
        try:
            return resolve(*given, **options)
        except ValueError as refused:
            found = REPEATS.match(str(refused))
            if found is None:
                raise
            words = "must be one of AllowedValues" if found[2].startswith("in") else "must be a number"
            raise ValueError(f"{found[1]} {words}") from None

    handlers._resolve_parameters = changesets._resolve_parameters = resolved


def install() -> None:
    _waits()
    _buckets()
    _types()
    _refusals()
    _parameters()


def reset() -> None:
    pass


def stop() -> None:
    pass
