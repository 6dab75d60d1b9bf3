"""Who reaches whom: the live security groups, network ACLs, subnets and routes, evaluated when a connection is made.

Sources, all of the VPC user guide unless named otherwise: security groups (vpc-security-groups.html,
security-group-rules.html), network ACLs (nacl-rules.html, nacl-ephemeral-ports.html), route tables
(RouteTables.html, route-table-options.html), NAT gateways (nat-gateway-basics.html), internet gateways
(VPC_Internet_Gateway.html), endpoints (AWS PrivateLink: create-interface-endpoint.html, gateway-endpoints.html), and
ECR's and ECS's pages on endpoints (ECR: vpc-endpoints.html).

On AWS a packet that is not allowed is dropped: whoever connects waits until it gives up. A connection that is there
stays when the rule that let it in goes, as a security group tracks connections.

Each network interface holds a private address of its subnet. Processes of this machine listen on loopback addresses;
`plug` says which one stands behind a private address. Not here: IPv6, peering and transit gateways (another VPC is out
of reach), middleboxes, connections that AWS does not track.
"""

import ipaddress
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from ministack.core.responses import get_account_id, get_region, request_scope

from account import control, durations

INTERNET = "52.94.0.1"  # stands for any public address, AWS's own APIs included
CLIENT = "203.0.113.9"  # a client somewhere on the internet, when none is named
HTTPS = 443
RESERVED = 5  # addresses of a subnet that AWS keeps: the first four and the last
EPHEMERAL = {"load balancer": (1024, 65535)}  # ports that answers go to; others are Linux
LINUX_EPHEMERAL = (32768, 60999)
# AWS's own prefix list of S3: a security group rule may name it, a gateway endpoint's route does.
S3_PREFIX_LISTS = {"us-east-1": "pl-63a5400a", "us-west-2": "pl-68a54001", "eu-west-1": "pl-6da54004"}
CONNECT_SECONDS = 127  # Linux gives up after six retries of a SYN


@dataclass(frozen=True)
class Interface:
    """Network interfaces that belong together: a task's one, a database's one, a load balancer's one a zone."""

    what: str  # "task …", "database …", "load balancer …"
    account: str
    region: str
    vpc: str
    subnets: tuple[str, ...]
    groups: tuple[str, ...]
    addresses: tuple[str, ...] = ()  # private, one for each subnet
    public: bool = False  # has a public address; of a load balancer: internet-facing

    @property
    def kind(self) -> str:
        return self.what.rpartition(" ")[0]


@dataclass(frozen=True)
class Outside:
    """One without an interface of ours: somewhere on the internet; a client also somewhere in the VPC."""

    address: str


# Private addresses ---------------------------------------------------------------------------------

Subnet = tuple[str, str, str]  # account, region, id
_lock = threading.RLock()
_held: dict[Subnet, dict[str, str]] = {}  # private address -> owner
_plugged: dict[tuple[str, str, str, str], tuple[str, Interface]] = {}  # account, region, VPC, private address


def hold(subnet_id: str, owner: str) -> str:
    """A private address of the subnet for `owner`, always the same. OSError when none is free."""
    from ministack.services import ec2

    record = ec2._subnets.get(subnet_id)
    if record is None:
        raise OSError(f"The subnet ID '{subnet_id}' does not exist")
    block = ipaddress.ip_network(record["CidrBlock"])
    with _lock:
        there = _held.setdefault((get_account_id(), get_region(), subnet_id), {})
        for address, whose in there.items():
            if whose == owner:
                return address
        usable = block.num_addresses - RESERVED
        start = durations.random("addresses").randrange(max(usable, 1))
        for step in range(usable):
            address = str(block[4 + (start + step) % usable])
            if address not in there:
                there[address] = owner
                return address
    raise OSError(f"InsufficientFreeAddressesInSubnet: {subnet_id} has no free address")


def give_back(owner: str) -> None:
    """Every private address that it holds."""
    with _lock:
        for there in _held.values():
            for address in [one for one, whose in there.items() if whose == owner]:
                del there[address]


def free_addresses(subnet_id: str) -> int:
    """How many private addresses of the subnet nothing holds, in the caller's account and region."""
    from ministack.services import ec2

    record = ec2._subnets.get(subnet_id)
    if record is None:
        return 0
    with _lock:
        held = len(_held.get((get_account_id(), get_region(), subnet_id), {}))
    held += sum(
        nat["SubnetId"] == subnet_id and nat["State"] in ("pending", "available", "deleting")
        for nat in ec2._nat_gateways.values()
    )
    return max(0, ipaddress.ip_network(record["CidrBlock"]).num_addresses - RESERVED - held)


def plug(interface: Interface, loopback: str) -> None:
    """A process of this machine stands behind the interface's private address."""
    with _lock:
        for address in interface.addresses:
            _plugged[(interface.account, interface.region, interface.vpc, address)] = (loopback, interface)


def unplug(interface: Interface) -> None:
    with _lock:
        for address in interface.addresses:
            _plugged.pop((interface.account, interface.region, interface.vpc, address), None)


def locate(account: str, region: str, vpc: str, address: str) -> tuple[str, Interface | None]:
    """Where on this machine a private address is, and the interface that has it. A loopback address is a server that a
    test has put beside the account: it stands for itself, and no rule applies to it.
    """
    with _lock:
        return _plugged.get((account, region, vpc, address)) or (address, None)


# Who there is --------------------------------------------------------------------------------------


def of_balancer(record: dict) -> Interface:
    from ministack.services import ec2

    subnets = tuple(zone["SubnetId"] for zone in record.get("AvailabilityZones") or [] if zone.get("SubnetId"))
    arn = record["LoadBalancerArn"]
    return Interface(
        f"load balancer {record['LoadBalancerName']}",
        get_account_id(),
        get_region(),
        record.get("VpcId", ""),
        subnets,
        _or_default(record.get("SecurityGroups"), record.get("VpcId", "")),
        tuple(hold(subnet, arn) for subnet in subnets if subnet in ec2._subnets),
        record.get("Scheme") != "internal",
    )


def of_database(record: dict) -> Interface:
    """Its interface is in one of the subnet group's subnets, in the instance's zone."""
    from ministack.services import ec2

    group = record.get("DBSubnetGroup") or {}
    choice = [
        one["SubnetIdentifier"]
        for one in group.get("Subnets") or []
        if (one.get("SubnetAvailabilityZone") or {}).get("Name") == record.get("AvailabilityZone")
    ] or [one["SubnetIdentifier"] for one in group.get("Subnets") or []]
    subnets = tuple(choice[:1])
    groups = [one["VpcSecurityGroupId"] for one in record.get("VpcSecurityGroups") or []]
    return Interface(
        f"database {record['DBInstanceIdentifier']}",
        get_account_id(),
        get_region(),
        group.get("VpcId", ""),
        subnets,
        _or_default(groups, group.get("VpcId", "")),
        tuple(hold(subnet, record["DBInstanceArn"]) for subnet in subnets if subnet in ec2._subnets),
    )


def in_subnet(what: str, subnet_id: str, groups: list[str], public: bool, owner: str = "") -> Interface:
    """With a private address when an owner is given. OSError when none is free."""
    from ministack.services import ec2

    vpc = (ec2._subnets.get(subnet_id) or {}).get("VpcId", "")
    held = (hold(subnet_id, owner),) if owner else ()
    where = (get_account_id(), get_region(), vpc)
    return Interface(what, *where, (subnet_id,), _or_default(groups, vpc), held, public)


def _or_default(groups: list[str] | None, vpc: str) -> tuple[str, ...]:
    """An interface that names no group has the VPC's default one."""
    from ministack.services import ec2

    return tuple(groups or [(ec2._vpcs.get(vpc) or {}).get("DefaultSecurityGroupId", "")])


# Rules ---------------------------------------------------------------------------------------------


def _within(cidr: str, address: str) -> bool:
    return ":" not in cidr and ipaddress.ip_address(address) in ipaddress.ip_network(cidr, strict=False)


def _covers(rule: dict, port: int, protocol: str) -> bool:
    """Whether a rule is about the port."""
    kind = str(rule.get("IpProtocol", "-1")).lower()
    if kind == "-1":
        return True
    if kind not in (protocol, {"tcp": "6", "udp": "17"}[protocol]):
        return False
    low, high = rule.get("FromPort", 0), rule.get("ToPort", 65535)
    return int(low) <= port <= int(high) or int(low) == -1


def _permitted(
    groups: tuple[str, ...],
    direction: str,
    port: int,
    protocol: str,
    peer: tuple[str, ...],
    peer_groups: tuple[str, ...],
    prefix_list: str = "",
) -> bool:
    """Whether any rule of any of the groups allows it: rules only allow, and they add up."""
    from ministack.services import ec2

    for rule in [rule for group in groups for rule in (ec2._security_groups.get(group) or {}).get(direction, [])]:
        if not _covers(rule, port, protocol):
            continue
        if any(pair.get("GroupId") in peer_groups for pair in rule.get("UserIdGroupPairs") or []):
            return True
        ranges = [one["CidrIp"] for one in rule.get("IpRanges") or []]
        for one in rule.get("PrefixListIds") or []:
            if one.get("PrefixListId") == prefix_list:
                return True
            known = ec2._prefix_lists.get(one.get("PrefixListId")) or {}
            ranges += [entry["Cidr"] for entry in known.get("Entries") or []]
        if peer and all(any(_within(cidr, address) for cidr in ranges) for address in peer):
            return True
    return False


def _acl(subnet_id: str) -> dict:
    from ministack.services import ec2

    acls = list(ec2._network_acls.values())
    for acl in acls:
        if any(one.get("SubnetId") == subnet_id for one in acl["Associations"]):
            return acl
    vpc = ec2._vpcs.get((ec2._subnets.get(subnet_id) or {}).get("VpcId")) or {}
    return ec2._network_acls.get(vpc.get("DefaultNetworkAclId")) or {"NetworkAclId": "", "Entries": []}


def _acl_lets(subnet_id: str, egress: bool, peer: str, port: int, protocol: str) -> str:
    """'' or why not: the first entry that applies, by number, decides; none means no."""
    acl = _acl(subnet_id)
    number = {"tcp": "6", "udp": "17"}[protocol]
    for entry in sorted(acl["Entries"], key=lambda one: one["RuleNumber"]):
        if entry["Egress"] != egress or str(entry["Protocol"]).lower() not in ("-1", number, protocol):
            continue
        ports = entry.get("PortRange")
        if ports and str(entry["Protocol"]) != "-1" and not ports["From"] <= port <= ports["To"]:
            continue
        if _within(entry.get("CidrBlock") or "::/0", peer):
            if entry["RuleAction"] == "allow":
                return ""
            break
    way = f"{'out to' if egress else 'in from'} {peer} on port {port}"
    return f"network ACL {acl['NetworkAclId']} of {subnet_id} does not let {way}"


def _acls_let(near: str, near_ip: str, far: str, far_ip: str, port: int, protocol: str, back: tuple[int, int]) -> str:
    """Both subnets' ACLs, there and back: an ACL has no memory. `far` is '' for the internet."""
    if near == far:
        return ""
    reasons = [_acl_lets(near, True, far_ip, port, protocol)]
    if far:
        reasons.append(_acl_lets(far, False, near_ip, port, protocol))
    for ephemeral in back:
        if far:
            reasons.append(_acl_lets(far, True, near_ip, ephemeral, protocol))
        reasons.append(_acl_lets(near, False, far_ip, ephemeral, protocol))
    return next((reason for reason in reasons if reason), "")


def _table(subnet_id: str) -> dict:
    """The subnet's own route table, else its VPC's main one."""
    from ministack.services import ec2

    vpc = (ec2._subnets.get(subnet_id) or {}).get("VpcId", "")
    main: dict = {}
    for table in list(ec2._route_tables.values()):
        for association in table.get("Associations", []):
            if association.get("SubnetId") == subnet_id:
                return table
            if association.get("Main") and table["VpcId"] == vpc:
                main = table
    return main


def _route(subnet_id: str, address: str) -> tuple[dict | None, str]:
    """The most specific route of the subnet for the address, and the table's id."""
    table = _table(subnet_id)
    found = [
        route
        for route in table.get("Routes", [])
        if route.get("DestinationCidrBlock") and _within(route["DestinationCidrBlock"], address)
    ]
    best = max(
        found, key=lambda one: ipaddress.ip_network(one["DestinationCidrBlock"], strict=False).prefixlen, default=None
    )
    return best, table.get("RouteTableId", "")


def attached(gateway: str, vpc: str) -> bool:
    from ministack.services import ec2

    record = ec2._internet_gateways.get(gateway) or {}
    return any(one.get("VpcId") == vpc for one in record.get("Attachments", []))


def _through_gateway(subnet_id: str, address: str) -> str:
    """'' when the subnet is public: its route leads to an internet gateway that is attached to the VPC."""
    from ministack.services import ec2

    route, table = _route(subnet_id, address)
    gateway = (route or {}).get("GatewayId", "")
    if not gateway.startswith("igw-"):
        return f"route table {table} of {subnet_id} has no route to an internet gateway"
    if not attached(gateway, (ec2._subnets.get(subnet_id) or {}).get("VpcId", "")):
        return f"internet gateway {gateway} is not attached to the VPC of {subnet_id}"
    return ""


def way_out(source: Interface, address: str, port: int, protocol: str = "tcp") -> tuple[str, str]:
    """('' or why it does not get there, the public address it arrives from) to an address on the internet."""
    from account import network
    from ministack.services import ec2

    if not _permitted(source.groups, "IpPermissionsEgress", port, protocol, (address,), ()):
        return f"no egress rule of {_list(source.groups)} allows {protocol} port {port} to {address}", ""
    (subnet_id,) = source.subnets[:1] or ("",)
    why = _acls_let(subnet_id, _ips(source)[0], "", address, port, protocol, LINUX_EPHEMERAL)
    if why:
        return why, ""
    route, table = _route(subnet_id, address)
    if route is None:
        return f"route table {table} of {subnet_id} has no route to {address}", ""
    if route.get("GatewayId", "").startswith("igw-"):
        if not source.public:
            return f"{subnet_id} leads to an internet gateway, but {source.what} has no public address", ""
        return _through_gateway(subnet_id, address), CLIENT
    nat = ec2._nat_gateways.get(route.get("NatGatewayId", ""))
    if nat is None:
        return f"the route to {address} in {table} of {subnet_id} leads nowhere", ""
    if network.nat_state(nat) != "available":
        return f"NAT gateway {nat['NatGatewayId']} is {nat['State']}", ""
    if nat.get("ConnectivityType") == "private":
        return f"NAT gateway {nat['NatGatewayId']} is private", ""
    elastic = (ec2._addresses.get(nat.get("AllocationId")) or {}).get("PublicIp") or CLIENT
    return _through_gateway(nat["SubnetId"], address), elastic


def _ips(interface: Interface) -> tuple[str, ...]:
    """Its private addresses, or such as it might get."""
    from ministack.services import ec2

    known = [ec2._subnets[subnet]["CidrBlock"] for subnet in interface.subnets if subnet in ec2._subnets]
    return interface.addresses or tuple(str(ipaddress.ip_network(cidr)[4]) for cidr in known) or ("0.0.0.0",)


def _list(groups: tuple[str, ...]) -> str:
    return ", ".join(groups)


# Connections ---------------------------------------------------------------------------------------


def may_connect(
    source: Interface | Outside | None, target: Interface | Outside | None, port: int, protocol: str = "tcp"
) -> str:
    """'' or why the connection is dropped. None as source is this machine itself: tests, and the emulator. None as
    target is a server of a test.
    """
    if source is None or target is None:
        return ""
    if isinstance(target, Outside):
        if isinstance(source, Outside):
            return ""
        with request_scope(source.account, source.region):
            return way_out(source, target.address, port, protocol)[0]
    with request_scope(target.account, target.region):
        if isinstance(source, Outside):
            return _from_outside(source.address, target, port, protocol)
        if target.kind == "load balancer" and target.public:
            # Its name resolves to public addresses, for those within the VPC too.
            with request_scope(source.account, source.region):
                why, arrives_from = way_out(source, INTERNET, port, protocol)
            return why or _from_outside(arrives_from, target, port, protocol)
        if (source.account, source.region, source.vpc) != (target.account, target.region, target.vpc):
            return f"{source.what} is in {source.vpc}, {target.what} in {target.vpc}: no route leads there"
        if not _permitted(source.groups, "IpPermissionsEgress", port, protocol, _ips(target), target.groups):
            return f"no egress rule of {_list(source.groups)} allows {protocol} port {port} to {target.what}"
        if not _permitted(target.groups, "IpPermissions", port, protocol, _ips(source), source.groups):
            return f"no ingress rule of {_list(target.groups)} allows {protocol} port {port} from {source.what}"
        back = EPHEMERAL.get(source.kind, LINUX_EPHEMERAL)
        for near, near_ip in zip(source.subnets, _ips(source)):
            for far, far_ip in zip(target.subnets, _ips(target)):
                why = _acls_let(near, near_ip, far, far_ip, port, protocol, back)
                if why:
                    return why
    return ""


def _from_outside(address: str, target: Interface, port: int, protocol: str) -> str:
    from ministack.services import ec2

    local = _within((ec2._vpcs.get(target.vpc) or {}).get("CidrBlock", "0.0.0.0/32"), address)
    if not target.public and not local:
        return f"{target.what} has no public address; {address} is outside of {target.vpc}"
    if not local:
        why = next((why for why in (_through_gateway(one, address) for one in target.subnets) if why), "")
        if why:
            return why
    if not _permitted(target.groups, "IpPermissions", port, protocol, (address,), ()):
        return f"no ingress rule of {_list(target.groups)} allows {protocol} port {port} from {address}"
    for subnet in target.subnets:
        for why in (
            _acl_lets(subnet, False, address, port, protocol),
            *(_acl_lets(subnet, True, address, ephemeral, protocol) for ephemeral in LINUX_EPHEMERAL),
        ):
            if why:
                return why
    return ""


def client_of(record: dict) -> Outside:
    """Who a request to a load balancer comes from when nobody said: someone on the internet, or in its VPC."""
    from ministack.services import ec2

    if record.get("Scheme") != "internal":
        return Outside(CLIENT)
    cidr = (ec2._vpcs.get(record.get("VpcId")) or {}).get("CidrBlock")
    return Outside(str(ipaddress.ip_network(cidr)[-6]) if cidr else CLIENT)


# Out of the VPC ------------------------------------------------------------------------------------


def leaves(source: Interface, service: str) -> str:
    """'' or why an interface does not reach a service of AWS over HTTPS. `service` as in an endpoint's name (`ecr.api`,
    `ecr.dkr`, `s3`, `secretsmanager`, `logs`, `ssm`), or `internet`.
    """
    from ministack.services import ec2

    with request_scope(source.account, source.region):
        name = f"com.amazonaws.{source.region}.{service}"
        endpoints = [
            one
            for one in list(ec2._vpc_endpoints.values())
            if one["ServiceName"] == name and one["VpcId"] == source.vpc and one["State"].lower() == "available"
        ]
        for endpoint in endpoints:
            # With private DNS the service's name resolves to the endpoint, in the whole VPC: there is no other way.
            if endpoint["VpcEndpointType"] == "Interface" and endpoint.get("PrivateDnsEnabled"):
                return may_connect(source, of_endpoint(endpoint), HTTPS)
        table = _table(source.subnets[0]).get("RouteTableId") if source.subnets else None
        for endpoint in endpoints:
            if endpoint["VpcEndpointType"] == "Gateway" and table in endpoint["RouteTableIds"]:
                listed = S3_PREFIX_LISTS.get(source.region, "") if service == "s3" else ""
                if _permitted(source.groups, "IpPermissionsEgress", HTTPS, "tcp", (INTERNET,), (), listed):
                    return ""
                return f"no egress rule of {_list(source.groups)} allows tcp port {HTTPS} to {name}"
        return way_out(source, INTERNET, HTTPS)[0]


def of_endpoint(endpoint: dict) -> Interface:
    subnets = tuple(endpoint.get("SubnetIds") or [])
    return Interface(
        f"endpoint {endpoint['VpcEndpointId']}",
        get_account_id(),
        get_region(),
        endpoint["VpcId"],
        subnets,
        _or_default(endpoint.get("SecurityGroupIds"), endpoint["VpcId"]),
        tuple(hold(subnet, endpoint["VpcEndpointId"]) for subnet in subnets),
    )


def retries() -> Iterator[float]:
    """Seconds to wait before each further SYN of a connection that is dropped, until the client's system gives up."""
    pause, left = 1.0, float(CONNECT_SECONDS)
    while left > 0:
        yield durations.timer(min(pause, left))
        left, pause = left - pause, pause * 2


# For tests -----------------------------------------------------------------------------------------


def _asked(request: control.Request) -> dict:
    """{account, region, from, to | service, port}: whether a connection would be made now, and why not."""
    body = request.body or {}
    with request_scope(body["account"], body["region"]):
        source = _party(body["from"])
        if body.get("service"):
            if not isinstance(source, Interface):
                raise ValueError("only an interface leaves its VPC")
            return {"why": leaves(source, body["service"])}
        target = _party(body["to"])
        return {"why": may_connect(source, target, int(body["port"]), body.get("protocol", "tcp"))}


def _party(named) -> Interface | Outside:
    """A task's, database's or load balancer's ARN; an IP address; or {subnet, groups, publicIp} for an interface that
    might be.
    """
    from ministack.services import alb, rds

    if isinstance(named, dict):
        what = named.get("what", "interface x")
        return in_subnet(what, named["subnet"], named.get("groups") or [], bool(named.get("publicIp")), what)
    for record in rds._instances.values():
        if record.get("DBInstanceArn") == named:
            return of_database(record)
    if named in alb._lbs:
        return of_balancer(alb._lbs[named])
    for _, interface in list(_plugged.values()):
        if named.endswith("/" + interface.what.rpartition(" ")[2]):
            return interface
    try:
        return Outside(str(ipaddress.ip_address(named)))
    except ValueError:
        raise LookupError(f"nothing has an interface by the name {named}") from None


def install() -> None:
    control.route("POST", "/reach", _asked)


def reset() -> None:
    with _lock:
        _held.clear()
        _plugged.clear()


def stop() -> None:
    pass
