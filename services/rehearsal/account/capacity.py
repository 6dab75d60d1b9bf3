"""Where a task is placed: which subnet, which capacity provider, and what is left of either.

A subnet has the addresses of its CIDR but five; each network interface, NAT gateway and load balancer in it takes one
(https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html). Fargate's capacity is without end here until a
test takes it away: `POST /_rehearsal/capacity`. Also here: Spot interruption, retirement and lack of memory, which
befall a task from outside: `POST /_rehearsal/tasks/{interrupt,retire,out-of-memory}`.
"""

from dataclasses import dataclass

from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ec2, ecs

from account import control, quotas, reachability, scheduler
from account.answers import Refused, invalid

UNAVAILABLE = "Capacity is unavailable at this time. Please try again later or in a different availability zone"
PROVIDERS = ("FARGATE", "FARGATE_SPOT")
STRATEGY_LIMIT = 20


class NoCapacity(Exception):
    """Nothing is left of a provider; `short` is the reason in EventBridge's words."""

    def __init__(self, provider: str, why: str = UNAVAILABLE):
        super().__init__(why)
        self.provider, self.short = provider, "RESOURCE:FARGATE"


@dataclass
class Limit:
    account: str
    region: str
    provider: str  # '': either
    zone: str  # '': every
    tasks: int  # that may still be placed


_limits: list[Limit] = []
_held: dict[tuple[str, str], int] = {}  # account, subnet: addresses that are free in it, whatever its CIDR says
_turns: dict[tuple[str, str, str], int] = {}  # account, region, group: tasks placed so far


# Addresses --------------------------------------------------------------------------------------------------


def free_addresses(subnet_id: str) -> int:
    held = _held.get((get_account_id(), subnet_id))
    if held is not None:
        return held
    return reachability.free_addresses(subnet_id)


def take_address(subnet_id: str) -> bool:
    """Whether the subnet had one; call it before the interface is put into ministack's store."""
    if free_addresses(subnet_id) < 1:
        return False
    if (get_account_id(), subnet_id) in _held:
        _held[get_account_id(), subnet_id] -= 1
    return True


def give_address(subnet_id: str) -> None:
    if (get_account_id(), subnet_id) in _held:
        _held[get_account_id(), subnet_id] += 1


# Placement --------------------------------------------------------------------------------------------------


def place(group: str, subnets: list[str], provider: str, units: int = 0) -> str:
    """The subnet for one more task of `group`: they take turns, so that tasks spread over the zones. NoCapacity when no
    zone has any left.
    """
    account, region = get_account_id(), get_region()
    too_many = quotas.vcpus(provider, units)
    if too_many:
        raise NoCapacity(provider, too_many)
    key = (account, region, group)
    turn = _turns.get(key, 0)
    for step in range(max(1, len(subnets))):
        subnet = subnets[(turn + step) % len(subnets)] if subnets else ""
        zone = (ec2._subnets.get(subnet) or {}).get("AvailabilityZone", "")
        limits = [
            limit
            for limit in _limits
            if (limit.account, limit.region) == (account, region)
            and limit.provider in ("", provider)
            and limit.zone in ("", zone)
        ]
        if all(limit.tasks > 0 for limit in limits):
            for limit in limits:
                limit.tasks -= 1
            _turns[key] = turn + step + 1
            return subnet
    raise NoCapacity(provider)


def check_strategy(strategy: list[dict], cluster: dict) -> None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CapacityProviderStrategyItem.html"""
    names = [item.get("capacityProvider") for item in strategy]
    if len(names) > STRATEGY_LIMIT:
        raise invalid(f"A capacity provider strategy can contain a maximum of {STRATEGY_LIMIT} capacity providers.")
    for name in names:
        if name not in PROVIDERS and name not in ecs._capacity_providers:
            raise invalid(f"The specified capacity provider '{name}' was not found.")
        if name not in (cluster.get("capacityProviders") or []):
            raise invalid(
                "The specified capacity provider strategy cannot contain a capacity provider that is not associated "
                "with the cluster. Associate the capacity provider with the cluster using the "
                "PutClusterCapacityProviders API and try again."
            )
        if name not in PROVIDERS:
            raise Refused("UnsupportedFeatureException", "Only Fargate's capacity providers are emulated.")
    if len(set(names)) < len(names):
        raise invalid("The specified capacity provider strategy contains a capacity provider more than once.")
    if len(strategy) > 1 and not any(item.get("weight") for item in strategy):
        raise invalid("The specified capacity provider strategy must have at least one weight greater than 0.")
    if sum(bool(item.get("base")) for item in strategy) > 1:
        raise invalid("The specified capacity provider strategy can have only one capacity provider with a base.")


def choose(strategy: list[dict], placed: list[str]) -> str:
    """The provider of the next task, when `placed` are those of the tasks that run: first the base, then whoever is
    furthest behind its weight.
    """
    for item in strategy:
        if placed.count(item["capacityProvider"]) < (item.get("base") or 0):
            return item["capacityProvider"]
    weighed = [item for item in strategy if item.get("weight")] or [{**strategy[0], "weight": 1}]

    def behind(item: dict) -> float:
        beyond = placed.count(item["capacityProvider"]) - (item.get("base") or 0)
        return (beyond + 1) / item["weight"]

    return min(weighed, key=behind)["capacityProvider"]


def check_cluster(data: dict) -> None:
    """CreateCluster and PutClusterCapacityProviders."""
    providers = data.get("capacityProviders") or []
    for name in providers:
        if name not in PROVIDERS and name not in ecs._capacity_providers:
            raise invalid(f"The specified capacity provider '{name}' was not found.")
    if data.get("defaultCapacityProviderStrategy"):
        check_strategy(data["defaultCapacityProviderStrategy"], {"capacityProviders": providers})


# From outside -----------------------------------------------------------------------------------------------


def _scope(body: dict) -> tuple[str, str]:
    if not body.get("account"):
        raise ValueError("give an account")
    return body["account"], body.get("region") or "us-east-1"


def _limit(request: control.Request) -> dict:
    body = request.body or {}
    account, region = _scope(body)
    with scheduler.lock, request_scope(account, region):
        if "freeAddresses" in body:
            if body.get("subnetId") not in ec2._subnets:
                raise LookupError(f"no subnet {body.get('subnetId')} in {account} {region}")
            _held[account, body["subnetId"]] = int(body["freeAddresses"])
        else:
            provider = body.get("provider") or ""
            if provider not in ("", *PROVIDERS):
                raise ValueError(f"no such provider: {provider}")
            _limits.append(Limit(account, region, provider, body.get("zone") or "", int(body.get("tasks") or 0)))
    return {}


def _unlimited(request: control.Request) -> dict:
    account = request.query.get("account")
    with scheduler.lock:
        _limits[:] = [limit for limit in _limits if account not in (None, limit.account)]
        for key in [key for key in _held if account in (None, key[0])]:
            del _held[key]
    return {}


def _befall(act):
    def answer(request: control.Request) -> dict:
        from account import tasks

        body = request.body or {}
        with scheduler.lock:
            task = tasks.live.get(body.get("taskArn") or "")
            if task is None or not task.wanted:
                raise LookupError(f"no such task runs: {body.get('taskArn')}")
            with request_scope(task.account, task.region):
                act(task, body)
        return {}

    return answer


def install() -> None:
    control.route("POST", "/capacity", _limit)
    control.route("DELETE", "/capacity", _unlimited)
    control.route("POST", "/tasks/interrupt", _befall(lambda task, _: task.interrupt()))
    control.route("POST", "/tasks/retire", _befall(lambda task, body: task.announce_retirement(body.get("days"))))
    control.route(
        "POST", "/tasks/out-of-memory", _befall(lambda task, body: task.out_of_memory(body.get("container")))
    )
    describe = ec2._ACTION_MAP["DescribeSubnets"]

    def counted(params):
        for subnet in ec2._subnets.values():
            subnet["AvailableIpAddressCount"] = free_addresses(subnet["SubnetId"])
        return describe(params)

    ec2._ACTION_MAP["DescribeSubnets"] = counted
    create = ec2._ACTION_MAP["CreateSubnet"]

    def created(params):
        before = set(ec2._subnets.keys())
        status, headers, body = create(params)
        for name in set(ec2._subnets.keys()) - before:
            count = ec2._subnets[name]["AvailableIpAddressCount"] = free_addresses(name)
            text = body.decode() if isinstance(body, bytes) else body
            body = text.replace("<availableIpAddressCount>251<", f"<availableIpAddressCount>{count}<").encode()
        return status, headers, body

    ec2._ACTION_MAP["CreateSubnet"] = created


def reset() -> None:
    _limits.clear()
    _held.clear()
    _turns.clear()
