"""RDS for PostgreSQL: instances with AWS's states, refusals and durations, each a real server (postgres.py).

Records stay in ministack's stores; what is not here (parameter groups, tags, events, Describe) is ministack's. An
instance's endpoint name leads to its server through a forwarder (see addresses) as soon as the server runs. Sources:
the RDS user guide's "Viewing Amazon RDS DB instance status" and "Settings for DB instances", and the API reference of
each action.

A snapshot holds the data of its instant, and an instance restored from it has them. Not here: clusters, replicas,
restoring automated snapshots or to a point in time, other engines, managed master passwords: refused. See
docs/fidelity.md.
"""

import hashlib
import logging
import re
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ministack.core.responses import get_account_id, get_region, new_uuid, request_scope
from ministack.services import rds

from account import addresses, clock, control, durations, notices, postgres, processes, reachability, settings

Answer = tuple
NEWEST = {11: "11.22", 12: "12.22", 13: "13.23", 14: "14.20", 15: "15.15", 16: "16.11", 17: "17.7", 18: "18.1"}
DEFAULT_MAJOR = 17
GIB = {
    "nano": 0.5,
    "micro": 1,
    "small": 2,
    "medium": 4,
    "large": 8,
    "xlarge": 16,
    "2xlarge": 32,
    "4xlarge": 64,
    "8xlarge": 128,
    "12xlarge": 192,
    "16xlarge": 256,
    "24xlarge": 384,
}
FAMILIES = (
    "t3",
    "t4g",
    "m5",
    "m5d",
    "m6g",
    "m6gd",
    "m6i",
    "m7g",
    "m7i",
    "m8g",
    "r5",
    "r6g",
    "r6i",
    "r7g",
    "r7i",
    "r8g",
)
MOST_CONNECTIONS = 1000  # a real server's here, whatever the class would allow
RESERVED = {
    "admin",
    "rdsadmin",
    "rdsrepladmin",
    "rds_superuser",
    "public",
    "user",
    "role",
    "session_user",
    "current_user",
}
STORAGE = {"gp2": 20, "gp3": 20, "io1": 100, "io2": 100, "standard": 5}  # smallest, GiB
DELETABLE_WITHOUT_SNAPSHOT = ("failed", "incompatible-restore", "incompatible-network")
STARTS_SOON = 0.2  # part of a modification's time before its state shows it
NUMBERS = {
    "AllocatedStorage",
    "BackupRetentionPeriod",
    "MaxAllocatedStorage",
    "MonitoringInterval",
    "Iops",
    "StorageThroughput",
    "PromotionTier",
}
FLAGS = {
    "AutoMinorVersionUpgrade",
    "CopyTagsToSnapshot",
    "DeletionProtection",
    "EnableIAMDatabaseAuthentication",
    "EnablePerformanceInsights",
    "MultiAZ",
    "PubliclyAccessible",
    "StorageEncrypted",
}
# Request parameter -> record field, for those that differ.
RENAMED = {
    "EnableIAMDatabaseAuthentication": "IAMDatabaseAuthenticationEnabled",
    "EnablePerformanceInsights": "PerformanceInsightsEnabled",
}
AT_ONCE = (
    "AutoMinorVersionUpgrade",
    "BackupRetentionPeriod",
    "CACertificateIdentifier",
    "CopyTagsToSnapshot",
    "DeletionProtection",
    "EnableIAMDatabaseAuthentication",
    "EnablePerformanceInsights",
    "MaxAllocatedStorage",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "PreferredBackupWindow",
    "PreferredMaintenanceWindow",
    "PubliclyAccessible",
)
# What an instance that is restored from a snapshot can be given, beside what is DEFERRED; and what it does not have
# from the instance that was.
FROM_REQUEST = (
    "AutoMinorVersionUpgrade",
    "BackupRetentionPeriod",
    "CACertificateIdentifier",
    "CopyTagsToSnapshot",
    "DeletionProtection",
    "EnableIAMDatabaseAuthentication",
    "PreferredBackupWindow",
    "PubliclyAccessible",
)
NOT_RESTORED = {
    "CopyTagsToSnapshot",
    "DeletionProtection",
    "Endpoint",
    "IAMDatabaseAuthenticationEnabled",
    "MaxAllocatedStorage",
    "MonitoringInterval",
    "MonitoringRoleArn",
    "MultiAZ",
    "PerformanceInsightsEnabled",
}
DEFERRED = (
    "AllocatedStorage",
    "DBInstanceClass",
    "EngineVersion",
    "Iops",
    "MultiAZ",
    "StorageThroughput",
    "StorageType",
)
EMPTY = (  # what ministack answers empty where AWS answers nothing
    "DBName|DBClusterIdentifier|EnhancedMonitoringResourceArn|KmsKeyId|MonitoringRoleArn|ReplicaMode|"
    "ReadReplicaSourceDBInstanceIdentifier"
)
log = logging.getLogger("rehearsal.databases")
first = rds._p


class Refused(Exception):
    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code, self.answer = code, rds._error(code, rds._esc(message), status)


class Gone(Exception):
    """The instance was deleted, or everything was reset, while something waited."""


class Database:
    """An instance and what stands behind it. `record` is ministack's."""

    def __init__(self, record: dict, host: str, port: int):
        self.account, self.region, self.id = get_account_id(), get_region(), record["DBInstanceIdentifier"]
        self.record, self.host, self.port = record, host, port
        self.turn = threading.Lock()  # one change at a time
        self.ended = clock.Event()
        self.server: postgres.Server | None = None
        self.backed_up: float | None = None  # when its first automated backup was taken
        self.address = ""
        self.name_address = addresses.publish(host, port, self._targets)
        reachability.of_database(record)  # takes its private address now
        if settings.PGBIN:
            self.address = addresses.allocate()
            label = {"account": self.account, "region": self.region, "database": self.id}
            directory = settings.DIRECTORY / "databases" / record["DbiResourceId"]
            with addresses.bind(self.address, port) as free:
                own_port = free.getsockname()[1]
            self.server = postgres.Server(directory, self.address, own_port, label, self._died)

    def _targets(self, _port: int) -> list[addresses.Target]:
        if self.server is None or not self.server.up or not self.record.get("Endpoint"):
            return []
        with request_scope(self.account, self.region):
            return [((self.address, self.server.port), reachability.of_database(self.record))]

    def work(self, act: Callable[[], None]) -> None:
        """Do this in the background, after what is being done already, in the instance's account and region."""

        def run() -> None:
            with request_scope(self.account, self.region), self.turn:
                try:
                    if not self.ended.is_set():
                        act()
                except Gone:
                    pass
                except Exception as error:
                    if self.ended.is_set():  # deleted meanwhile: whatever it was doing came to nothing
                        return self.discard()
                    log.exception("database %s", self.id)
                    self.record["DBInstanceStatus"] = "failed"
                    self.event(f"DB instance failed: {error}", "failure")

        threading.Thread(target=run, daemon=True, name=f"database-{self.id}").start()

    def wait(self, seconds: float) -> None:
        if self.ended.wait(max(0.0, seconds)):
            raise Gone

    def event(self, message: str, category: str = "") -> None:
        tags = list(rds._tags.get(self.record["DBInstanceArn"]) or [])
        notices.database("db-instance", self.id, self.record["DBInstanceArn"], message, category, tags)

    def start(self) -> None:
        if self.server:
            self.server.start(
                connections(self.record["DBInstanceClass"], self.parameter("max_connections")), self.forces_ssl()
            )

    def parameter(self, name: str) -> str | None:
        group = rds._param_groups.get(self.record["DBParameterGroups"][0]["DBParameterGroupName"]) or {}
        value = (group.get("Parameters") or {}).get(name)
        return value.get("ParameterValue") if isinstance(value, dict) else value

    def forces_ssl(self) -> bool:
        """rds.force_ssl: 1 by default from PostgreSQL 15 on."""
        return (self.parameter("rds.force_ssl") or ("1" if major(self.record["EngineVersion"]) >= 15 else "0")) == "1"

    def _died(self) -> None:
        """The server ended without being asked: RDS starts it again, and says nothing meanwhile."""

        def recover() -> None:
            if self.record["DBInstanceStatus"] in ("stopping", "stopped", "deleting"):
                return
            self.event(
                "Recovery of the DB instance has started. Recovery time will vary with the amount of data to be "
                "recovered."
            )
            self.wait(durations.seconds("rds.reboot"))
            self.start()
            self.event("Recovery of the DB instance is complete.")

        self.work(recover)

    def discard(self, keep: Path | None = None) -> None:
        """Server, data, names and addresses are gone; the data may be kept in a directory."""
        self.ended.set()
        addresses.withdraw(self.host)
        reachability.give_back(self.record["DBInstanceArn"])
        if self.server:
            self.server.discard(keep)
            addresses.release(self.address)


@dataclass
class Image:
    """What a snapshot holds beside its record: the instance as it was, and its data."""

    record: dict
    port: int
    data: Path


_databases: dict[tuple[str, str, str], Database] = {}
_images: dict[str, Image] = {}  # by the snapshot's ARN


def _find(params, states: tuple[str, ...] | None = None) -> Database:
    """The instance that the request names. Raises Refused when there is none, or it is in none of the states."""
    name = first(params, "DBInstanceIdentifier")
    found = _databases.get((get_account_id(), get_region(), name.rpartition(":")[2].lower()))
    if found is None:
        raise Refused("DBInstanceNotFound", f"DBInstance {name} not found.", 404)
    if states and found.record["DBInstanceStatus"] not in states:
        raise Refused(
            "InvalidDBInstanceState",
            f"Instance {found.id} is currently {found.record['DBInstanceStatus']} - it must be {states[0]}",
        )
    return found


def kill(account: str, identifier: str, signal_name: str = "SIGKILL") -> int:
    """Send a signal to an instance's server from outside, without AWS's knowledge. LookupError when it does not run."""
    return processes.kill(signal_name, account=account, database=identifier)


# Values --------------------------------------------------------------------------------------------


def major(version: str) -> int:
    return int(version.partition(".")[0])


def memory(instance_class: str) -> float:
    """GiB of a class; Refused for one that there is not."""
    found = re.fullmatch(r"db\.([a-z0-9]+)\.([a-z0-9]+)", instance_class)
    if (
        not found
        or found[1] not in FAMILIES
        or found[2] not in GIB
        or found[2] == "nano"
        or (found[2] in ("micro", "small") and found[1][0] != "t")
    ):
        raise Refused("InvalidParameterValue", f"Invalid DB Instance class: {instance_class}")
    return GIB[found[2]] * (2 if found[1][0] == "r" else 1)


def connections(instance_class: str, parameter: str | None) -> int:
    """max_connections: the parameter group's, or RDS's default LEAST({DBInstanceClassMemory/9531392},5000)."""
    wanted = int(parameter) if parameter and parameter.isdigit() else int(memory(instance_class) * 2**30 / 9531392)
    return min(wanted, 5000, MOST_CONNECTIONS)


def version_of(asked: str) -> str:
    if not asked:
        return NEWEST[DEFAULT_MAJOR]
    if not re.fullmatch(r"\d+(\.\d+)?", asked) or major(asked) not in NEWEST:
        raise Refused("InvalidParameterCombination", f"Cannot find version {asked} for postgres")
    return asked if "." in asked else NEWEST[int(asked)]


def _name(params, parameter: str, what: str, longest: int = 63) -> str:
    name = first(params, parameter)
    if not name:
        raise Refused("MissingParameter", f"The request must contain the parameter {parameter}")
    if len(name) > longest or not re.fullmatch(r"[A-Za-z](-?[A-Za-z0-9])*", name):
        raise Refused(
            "InvalidParameterValue",
            f"The parameter {parameter} is not a valid {what}. Identifiers must begin with a letter; must contain only "
            "ASCII letters, digits, and hyphens; and must not end with a hyphen or contain two consecutive hyphens.",
        )
    return name.lower()


def _password(password: str) -> None:
    if len(password) < 8:
        raise Refused(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password because it is shorter than 8 characters.",
        )
    if len(password) > 128:
        raise Refused(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password because it is longer than 128 characters.",
        )
    if not re.fullmatch(r"""[!#-.0-?A-~]+""", password):
        message = (
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides "
            "'/', '@', '\"', ' ' may be used."
        )
        raise Refused("InvalidParameterValue", message)


def _given(params, names) -> dict:
    """Record fields of the parameters that the request has."""
    fields = {}
    for name in names:
        value = first(params, name)
        if value == "":
            continue
        if name in NUMBERS:
            if not re.fullmatch(r"\d+", value):
                raise Refused("InvalidParameterValue", f"Invalid value for {name}: {value}")
            value = int(value)
        elif name in FLAGS:
            value = value == "true"
        fields[RENAMED.get(name, name)] = value
    if not 0 <= fields.get("BackupRetentionPeriod", 0) <= 35:
        raise Refused(
            "InvalidParameterValue",
            f"Invalid backup retention period: {fields['BackupRetentionPeriod']}. Must be between 0 and 35.",
        )
    if "DBInstanceClass" in fields:
        memory(fields["DBInstanceClass"])
    return fields


def _storage(kind: str, size: int) -> None:
    if kind not in STORAGE:
        raise Refused("InvalidParameterValue", f"Invalid storage type: {kind}")
    if not STORAGE[kind] <= size <= 65536:
        raise Refused(
            "InvalidParameterValue", f"Invalid storage size for engine name postgres and storage type {kind}: {size}"
        )


def _growth(most: int, size: int) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_PIOPS.Autoscaling.html: a tenth more at least; the
    size itself, of one that is there already, switches the growth off.
    """
    if size != most < size * 1.1:
        raise Refused(
            "InvalidParameterCombination", "The maximum allocated storage must be increased by at least 10 percent."
        )


def _security_groups(ids: list[str], vpc: str) -> list[dict]:
    from ministack.services import ec2

    for group in ids:
        record = ec2._security_groups.get(group)
        if record is None:
            raise Refused("InvalidParameterValue", f"Invalid security group , groupId= {group}, groupName=.")
        if vpc and record["VpcId"] != vpc:
            raise Refused(
                "InvalidVPCNetworkStateFault",
                f"The DB instance and EC2 security group are in different VPCs. The DB instance is in {vpc} and the "
                f"EC2 security group is in {record['VpcId']}",
            )
    if not ids:
        ids = [
            one["GroupId"]
            for one in ec2._security_groups.values()
            if one["GroupName"] == "default" and one["VpcId"] == vpc
        ]
    return [{"VpcSecurityGroupId": group, "Status": "active"} for group in ids]


def _parameter_group(name: str) -> str:
    if name and not name.startswith("default.") and name not in rds._param_groups:
        raise Refused("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}", 404)
    return name


def _endpoint(identifier: str) -> str:
    """`<id>.<the same letters for a whole account and region>.<region>.rds.amazonaws.com`."""
    digest = hashlib.sha256(f"{get_account_id()} {get_region()}".encode()).digest()
    letters = "".join("0123456789abcdefghijklmnopqrstuvwxyz"[byte % 36] for byte in digest[:11])
    suffix = "amazonaws.com.cn" if get_region().startswith("cn-") else "amazonaws.com"
    return f"{identifier}.c{letters}.{get_region()}.rds.{suffix}"


def _answer(action: str, record: dict) -> Answer:
    return rds._single_instance_response(f"{action}Response", f"{action}Result", record)


# Instances -----------------------------------------------------------------------------------------


def create(params) -> Answer:
    identifier = _name(params, "DBInstanceIdentifier", "identifier")
    if identifier in rds._instances:
        raise Refused("DBInstanceAlreadyExists", "DB instance already exists")
    for unknown in ("DBClusterIdentifier", "ManageMasterUserPassword", "DBSnapshotIdentifier"):
        if first(params, unknown) not in ("", "false"):
            raise Refused("InvalidParameterCombination", f"{unknown} is not emulated")
    engine = first(params, "Engine")
    if engine != "postgres":
        raise Refused(
            "InvalidParameterValue",
            "Invalid DB engine" if engine not in ("mysql", "mariadb") else f"Engine {engine} is not emulated",
        )
    version = version_of(first(params, "EngineVersion"))
    user, password, database = (first(params, name) for name in ("MasterUsername", "MasterUserPassword", "DBName"))
    if not user or not password:
        missing = "MasterUsername" if not user else "MasterUserPassword"
        raise Refused("InvalidParameterValue", f"The parameter {missing} must be provided and must not be blank.")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,62}", user):
        raise Refused(
            "InvalidParameterValue", "MasterUsername must begin with a letter and contain only alphanumeric characters."
        )
    if user.lower() in RESERVED or user.lower().startswith("pg_"):
        raise Refused(
            "InvalidParameterValue", f"MasterUsername {user} cannot be used as it is a reserved word used by the engine"
        )
    _password(password)
    if database and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,62}", database):
        raise Refused(
            "InvalidParameterValue", "DBName must begin with a letter and contain only alphanumeric characters."
        )
    fields = _given(
        params,
        [
            *AT_ONCE,
            *(name for name in DEFERRED if name != "EngineVersion"),
            "StorageEncrypted",
            "KmsKeyId",
            "AvailabilityZone",
        ],
    )
    if "DBInstanceClass" not in fields or "AllocatedStorage" not in fields:
        missing = "DBInstanceClass" if "DBInstanceClass" not in fields else "AllocatedStorage"
        raise Refused("MissingParameter", f"The request must contain the parameter {missing}")
    _storage(fields.get("StorageType", "gp2"), fields["AllocatedStorage"])
    if fields.get("MaxAllocatedStorage") == fields["AllocatedStorage"]:
        raise Refused("InvalidParameterCombination", "Max storage size must be greater than storage size")
    _growth(fields.get("MaxAllocatedStorage", fields["AllocatedStorage"]), fields["AllocatedStorage"])
    record = {
        "Engine": "postgres",
        "EngineVersion": version,
        "MasterUsername": user,
        "DBName": database,
        "BackupRetentionPeriod": 1,
        "StorageType": "gp2",
        "LicenseModel": "postgresql-license",
        "PendingModifiedValues": {"MasterUserPassword": "****"},
        "AutoMinorVersionUpgrade": True,
        "PubliclyAccessible": False,
        "CACertificateIdentifier": "rds-ca-rsa2048-g1",
        **fields,
        **_place(params, identifier, version),
        "TagList": rds._parse_tags(params),
    }
    if record.get("StorageEncrypted") and not record.get("KmsKeyId"):
        record["KmsKeyId"] = f"arn:aws:kms:{get_region()}:{get_account_id()}:key/{_default_key()}"
    made = _begin(record, int(first(params, "Port") or 5432))
    answer = _answer("CreateDBInstance", record)

    def prepare(server: postgres.Server) -> None:
        server.make(made.host, [made.name_address])
        made.start()
        server.prepare(user, password, database)

    made.work(lambda: _bring_up(made, prepare, "DB instance created"))
    return answer


def _place(params, identifier: str, version: str) -> dict:
    """Record fields of a new instance that nothing has had before: who and where it is. Refused for where it cannot be."""
    group_name = (first(params, "DBSubnetGroupName") or "default").lower()
    subnet_group = rds._subnet_groups.get(group_name)
    if subnet_group is None:
        raise Refused("DBSubnetGroupNotFoundFault", f"DB subnet group '{group_name}' does not exist.", 404)
    security = _security_groups(rds._parse_member_list(params, "VpcSecurityGroupIds"), subnet_group["VpcId"])
    parameters = _parameter_group(first(params, "DBParameterGroupName")) or f"default.postgres{major(version)}"
    zones = [subnet["SubnetAvailabilityZone"]["Name"] for subnet in subnet_group["Subnets"]]
    return {
        "DBInstanceIdentifier": identifier,
        "DBInstanceStatus": "creating",
        "AvailabilityZone": first(params, "AvailabilityZone") or zones[0],
        "InstanceCreateTime": rds._format_time(clock.now()),
        "DBSecurityGroups": [],
        "VpcSecurityGroups": security,
        "DBParameterGroups": [{"DBParameterGroupName": parameters, "ParameterApplyStatus": "in-sync"}],
        "OptionGroupMemberships": [{"OptionGroupName": f"default:postgres-{major(version)}", "Status": "in-sync"}],
        "DBSubnetGroup": subnet_group,
        "ReadReplicaDBInstanceIdentifiers": [],
        "DbiResourceId": "db-" + hashlib.sha256(new_uuid().encode()).hexdigest()[:26].upper(),
        "DBInstanceArn": f"arn:aws:rds:{get_region()}:{get_account_id()}:db:{identifier}",
    }


def _begin(record: dict, port: int) -> Database:
    if not 1150 <= port <= 65535:
        raise Refused("InvalidParameterValue", f"Invalid port: {port}. Valid ports are 1150-65535.")
    identifier = record["DBInstanceIdentifier"]
    if record["TagList"]:
        rds._tags[record["DBInstanceArn"]] = list(record["TagList"])
    rds._instances[identifier] = record
    made = _databases[(get_account_id(), get_region(), identifier)] = Database(record, _endpoint(identifier), port)
    return made


def _default_key() -> str:
    text = hashlib.sha256(f"aws/rds {get_account_id()} {get_region()}".encode()).hexdigest()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:32]))


def _bring_up(database: Database, prepare: Callable[[postgres.Server], None], told: str) -> None:
    """creating -> backing-up -> available. The server is ready long before, but its endpoint shows as late as RDS's."""
    record, began = database.record, clock.monotonic()
    whole = durations.seconds("rds.create.multiaz" if record.get("MultiAZ") else "rds.create")
    if database.server:
        prepare(database.server)
    database.wait(began + whole - clock.monotonic())
    record["PendingModifiedValues"] = {}
    record["Endpoint"] = {"Address": database.host, "Port": database.port, "HostedZoneId": "Z2R2ITUGPM61AM"}
    database.event(told)
    if record["BackupRetentionPeriod"]:
        record["DBInstanceStatus"] = "backing-up"
        database.event("Backing up DB instance")
        database.wait(durations.seconds("rds.backup"))
        database.event("Finished DB Instance backup")
        database.backed_up = clock.now()
    record["DBInstanceStatus"] = "available"


def modify(params) -> Answer:
    database = _find(params)
    record = database.record
    if record["DBInstanceStatus"] not in (
        "available",
        "storage-optimization",
        "storage-full",
        "incompatible-parameters",
    ):
        raise Refused("InvalidDBInstanceState", "Database instance is not in available state.")
    for unknown in (
        "ManageMasterUserPassword",
        "NewDBInstanceIdentifier",
        "DBSubnetGroupName",
        "DBPortNumber",
        "Engine",
    ):
        if first(params, unknown) not in ("", "false"):
            raise Refused("InvalidParameterCombination", f"Changing {unknown} is not emulated")
    now, later, password = _given(params, AT_ONCE), _given(params, DEFERRED), first(params, "MasterUserPassword")
    later = {name: value for name, value in later.items() if record.get(name) != value}
    if "BackupRetentionPeriod" in now and bool(now["BackupRetentionPeriod"]) != bool(record["BackupRetentionPeriod"]):
        later["BackupRetentionPeriod"] = now.pop("BackupRetentionPeriod")  # from or to zero is an outage
    if password:
        _password(password)
    if "EngineVersion" in later:
        later["EngineVersion"] = version_of(later["EngineVersion"])
        if (
            major(later["EngineVersion"]) != major(record["EngineVersion"])
            and first(params, "AllowMajorVersionUpgrade") != "true"
        ):
            raise Refused(
                "InvalidParameterCombination",
                "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version.",
            )
    if later.get("AllocatedStorage", record["AllocatedStorage"]) < record["AllocatedStorage"]:
        wanted, there = later["AllocatedStorage"], record["AllocatedStorage"]
        raise Refused(
            "InvalidParameterCombination",
            f"Invalid storage size: requested {wanted} GiB is less than the current {there} GiB",
        )
    storage = later.get("AllocatedStorage", record["AllocatedStorage"])
    _storage(later.get("StorageType", record["StorageType"]), storage)
    if now.get("MaxAllocatedStorage") != record.get("MaxAllocatedStorage"):
        _growth(now.get("MaxAllocatedStorage", storage), storage)
    groups = rds._parse_member_list(params, "VpcSecurityGroupIds")
    if groups:
        now["VpcSecurityGroups"] = _security_groups(groups, record["DBSubnetGroup"]["VpcId"])
    parameters = _parameter_group(first(params, "DBParameterGroupName"))
    if parameters and parameters != record["DBParameterGroups"][0]["DBParameterGroupName"]:
        now["DBParameterGroups"] = [{"DBParameterGroupName": parameters, "ParameterApplyStatus": "pending-reboot"}]
    record.update(now)
    apply = first(params, "ApplyImmediately") == "true"
    record["PendingModifiedValues"] = (
        record["PendingModifiedValues"] | later | ({"MasterUserPassword": "****"} if password else {})
    )
    if password or (apply and record["PendingModifiedValues"]):
        database.work(lambda: _apply(database, password, apply))
    return _answer("ModifyDBInstance", record)


def _apply(database: Database, password: str, everything: bool) -> None:
    """A moment after the request the state shows it; at the end the pending values are the instance's."""
    record, whole = database.record, durations.seconds("rds.modify")
    database.wait(whole * STARTS_SOON)
    if password:
        record["DBInstanceStatus"] = "resetting-master-credentials"
        if database.server:
            database.server.sql(
                f"alter role {postgres.identifier(record['MasterUsername'])} password {postgres.literal(password)}"
            )
        database.wait(whole * (1 - STARTS_SOON))
        record["PendingModifiedValues"] = {
            name: value for name, value in record["PendingModifiedValues"].items() if name != "MasterUserPassword"
        }
        database.event("Reset master credentials")
    later = {name: value for name, value in record["PendingModifiedValues"].items() if name != "MasterUserPassword"}
    if everything and later:
        record["DBInstanceStatus"] = "modifying"
        database.wait(whole * (1 - STARTS_SOON))
        restart = {"BackupRetentionPeriod", "DBInstanceClass", "EngineVersion"} & set(later)
        record.update(later)
        record["PendingModifiedValues"] = {
            name: value for name, value in record["PendingModifiedValues"].items() if name not in later
        }
        if restart and database.server:
            database.server.stop()
            database.start()
        for name in later:
            if name in notices.MODIFIED:
                database.event(notices.MODIFIED[name])
    record["DBInstanceStatus"] = "available"


def reboot(params) -> Answer:
    database = _find(params, ("available",))
    database.record["DBInstanceStatus"] = "rebooting"

    def act() -> None:
        if database.server:
            database.server.stop()
        database.event("DB instance shutdown")
        database.wait(durations.seconds("rds.reboot"))
        database.start()
        database.record["DBParameterGroups"][0]["ParameterApplyStatus"] = "in-sync"
        database.event("DB instance restarted")
        database.record["DBInstanceStatus"] = "available"

    answer = _answer("RebootDBInstance", database.record)
    database.work(act)
    return answer


def stop_instance(params) -> Answer:
    database = _find(params, ("available",))
    database.record["DBInstanceStatus"] = "stopping"

    def act() -> None:
        if database.server:
            database.server.stop()
        database.wait(durations.seconds("rds.reboot"))
        database.event("DB instance stopped")
        database.record["DBInstanceStatus"] = "stopped"

    answer = _answer("StopDBInstance", database.record)
    database.work(act)
    return answer


def start_instance(params) -> Answer:
    database = _find(params, ("stopped",))
    database.record["DBInstanceStatus"] = "starting"

    def act() -> None:
        database.wait(durations.seconds("rds.reboot"))
        database.start()
        database.event("DB instance started")
        database.record["DBInstanceStatus"] = "available"

    answer = _answer("StartDBInstance", database.record)
    database.work(act)
    return answer


def delete(params) -> Answer:
    database = _find(params)
    record, status = database.record, database.record["DBInstanceStatus"]
    if record.get("DeletionProtection"):
        raise Refused(
            "InvalidParameterCombination",
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        )
    if status == "deleting":
        raise Refused("InvalidDBInstanceState", f"Instance {database.id} is already being deleted.")
    skip, final = first(params, "SkipFinalSnapshot") == "true", first(params, "FinalDBSnapshotIdentifier")
    if skip and final:
        raise Refused(
            "InvalidParameterCombination",
            "FinalDBSnapshotIdentifier can not be specified when deleting a DB instance with SkipFinalSnapshot "
            "enabled.",
        )
    if not skip:
        if not final:
            raise Refused(
                "InvalidParameterCombination",
                "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
            )
        final = _name(params, "FinalDBSnapshotIdentifier", "identifier", 255)
        if final in rds._snapshots:
            raise Refused(
                "DBSnapshotAlreadyExists",
                f"Cannot create the snapshot because a snapshot with the identifier {final} already exists.",
            )
        _can_be_copied(database)
    record["DBInstanceStatus"] = "deleting"
    snapshot = _snapshot(database, final) if final else None
    answer = _answer("DeleteDBInstance", record)
    account, region = get_account_id(), get_region()
    database.discard(_images[snapshot["DBSnapshotArn"]].data if snapshot else None)

    def act() -> None:
        with request_scope(account, region):
            if snapshot:
                clock.sleep(durations.seconds("rds.snapshot"))
                _copied(snapshot)
            clock.sleep(durations.seconds("rds.delete"))
            if rds._instances.get(database.id) is record:
                database.event("DB instance deleted")
                rds._instances.pop(database.id)
                rds._tags.pop(record["DBInstanceArn"], None)
            if _databases.get((account, region, database.id)) is database:
                del _databases[(account, region, database.id)]

    threading.Thread(target=act, daemon=True, name=f"database-{database.id}").start()
    return answer


# Snapshots ------------------------------------------------------------------------------------------


def _kept_in() -> Path:
    return settings.DIRECTORY / "databases" / "snapshots"


def _can_be_copied(database: Database) -> None:
    if database.record["DBInstanceStatus"] != "available":
        raise Refused(
            "InvalidDBInstanceState",
            f"Cannot create a snapshot because the database instance {database.id} is not currently in the available "
            "state.",
        )


def _snapshot(database: Database, name: str) -> dict:
    snapshot = rds._create_snapshot_internal(name, database.record)
    snapshot |= {
        "Status": "creating",
        "PercentProgress": 0,
        "VpcId": database.record["DBSubnetGroup"]["VpcId"],
        "Port": database.port,
    }
    if not database.record.get("CopyTagsToSnapshot"):
        snapshot["TagList"] = []
    elif snapshot["TagList"]:
        rds._tags[snapshot["DBSnapshotArn"]] = list(snapshot["TagList"])
    _images[snapshot["DBSnapshotArn"]] = Image(dict(database.record), database.port, _kept_in() / new_uuid())
    _told(snapshot, "Creating manual snapshot")
    return snapshot


def _told(snapshot: dict, message: str) -> None:
    arn = snapshot["DBSnapshotArn"]
    notices.database("db-snapshot", snapshot["DBSnapshotIdentifier"], arn, message, tags=snapshot.get("TagList"))


def _copied(snapshot: dict) -> None:
    snapshot.update(Status="available", PercentProgress=100)
    _told(snapshot, "Manual snapshot created")


def create_snapshot(params) -> Answer:
    name = _name(params, "DBSnapshotIdentifier", "identifier", 255)
    if name in rds._snapshots:
        raise Refused(
            "DBSnapshotAlreadyExists",
            f"Cannot create the snapshot because a snapshot with the identifier {name} already exists.",
        )
    database = _find(params)
    _can_be_copied(database)
    snapshot = _snapshot(database, name)
    tags = rds._parse_tags(params)
    if tags:
        snapshot["TagList"] = tags
        rds._tags[snapshot["DBSnapshotArn"]] = list(tags)
    database.record["DBInstanceStatus"] = "backing-up"

    def act() -> None:
        if database.server:
            database.server.copy(_images[snapshot["DBSnapshotArn"]].data)
        database.wait(durations.seconds("rds.snapshot"))
        _copied(snapshot)
        database.record["DBInstanceStatus"] = "available"

    answer = f"<CreateDBSnapshotResult><DBSnapshot>{rds._snapshot_xml(snapshot)}</DBSnapshot></CreateDBSnapshotResult>"
    database.work(act)
    return rds._xml(200, "CreateDBSnapshotResponse", answer)


def delete_snapshot(params) -> Answer:
    found = rds._snapshots.get(first(params, "DBSnapshotIdentifier"))
    if found and found["Status"] != "available":
        raise Refused("InvalidDBSnapshotState", "The DB snapshot is not in the available state.")
    image = found and _images.pop(found["DBSnapshotArn"], None)
    if image:
        shutil.rmtree(image.data, ignore_errors=True)
    return _made["DeleteDBSnapshot"](params)


def restore(params) -> Answer:
    """API reference, RestoreDBInstanceFromDBSnapshot; user guide, "Restoring to a DB instance", whose considerations
    say what comes from the snapshot: its tags when none are given, the master user with the password of then, the
    class, the storage, backups; and what does not: groups, several zones, protection, growth, monitoring.
    """
    identifier = _name(params, "DBInstanceIdentifier", "identifier")
    if identifier in rds._instances:
        raise Refused("DBInstanceAlreadyExists", "DB instance already exists")
    for unknown in ("DBClusterSnapshotIdentifier", "ManageMasterUserPassword"):
        if first(params, unknown) not in ("", "false"):
            raise Refused("InvalidParameterCombination", f"{unknown} is not emulated")
    name = first(params, "DBSnapshotIdentifier").rpartition("snapshot:")[2].lower()
    snapshot = rds._snapshots.get(name)
    if snapshot is None:
        raise Refused("DBSnapshotNotFound", f"DBSnapshot {name} not found.", 404)
    if snapshot["Status"] != "available":
        raise Refused("InvalidDBSnapshotState", f"The DB snapshot {name} is not in the available state.")
    image = _images.get(snapshot["DBSnapshotArn"])
    if image is None:
        raise Refused("InvalidParameterCombination", "Restoring an automated snapshot is not emulated")
    if first(params, "Engine") not in ("", "postgres"):
        raise Refused("InvalidParameterCombination", "The engine is not compatible with the snapshot's.")
    if first(params, "DBName"):
        raise Refused("InvalidParameterValue", "DBName must be null when Restoring for this Engine.")
    was = image.record
    fields = _given(params, [*FROM_REQUEST, *(one for one in DEFERRED if one != "EngineVersion")])
    storage = "io1" if "Iops" in fields or was.get("Iops") else "gp3"
    _storage(fields.setdefault("StorageType", storage), fields.setdefault("AllocatedStorage", was["AllocatedStorage"]))
    if fields["AllocatedStorage"] < was["AllocatedStorage"]:
        raise Refused(
            "InvalidParameterCombination",
            f"Invalid storage size: requested {fields['AllocatedStorage']} GiB is less than the snapshot's "
            f"{was['AllocatedStorage']} GiB",
        )
    record = {
        **{name: value for name, value in was.items() if name not in NOT_RESTORED},
        "PendingModifiedValues": {},
        **fields,
        **_place(params, identifier, was["EngineVersion"]),
        "TagList": rds._parse_tags(params) or list(snapshot["TagList"]),
    }
    made = _begin(record, int(first(params, "Port") or image.port))
    answer = _answer("RestoreDBInstanceFromDBSnapshot", record)

    def prepare(server: postgres.Server) -> None:
        server.make(made.host, [made.name_address], image.data)
        made.start()

    made.work(lambda: _bring_up(made, prepare, "DB instance created"))
    arn = snapshot["DBSnapshotArn"]
    notices.database("db-snapshot", name, arn, f"Restored from snapshot {name}", "restoration", snapshot["TagList"])
    return answer


# Subnet groups -------------------------------------------------------------------------------------


def _covers(subnets: list[str]) -> None:
    found = rds._resolve_subnet_group_members(subnets)
    if found is None:
        raise Refused("InvalidSubnet", rds._INVALID_SUBNET_MESSAGE)
    zones = sorted({subnet["SubnetAvailabilityZone"]["Name"] for subnet in found[0]})
    if len(zones) < 2:
        raise Refused(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: "
            f"{', '.join(zones)}. Add subnets to cover at least 2 AZs.",
        )


def create_subnet_group(params) -> Answer:
    name = first(params, "DBSubnetGroupName").lower()
    if not re.fullmatch(r"[a-z0-9][a-z0-9 ._-]{0,254}", name) or name == "default":
        raise Refused("InvalidParameterValue", f"The parameter DBSubnetGroupName is not a valid identifier: {name}")
    if name in rds._subnet_groups:
        raise Refused("DBSubnetGroupAlreadyExists", f"The DB subnet group '{name}' already exists.")
    _covers(rds._parse_member_list(params, "SubnetIds"))
    return _made["CreateDBSubnetGroup"]({**params, "DBSubnetGroupName": [name]})


def modify_subnet_group(params) -> Answer:
    if first(params, "DBSubnetGroupName").lower() in rds._subnet_groups:
        _covers(rds._parse_member_list(params, "SubnetIds"))
    return _made["ModifyDBSubnetGroup"](params)


def delete_subnet_group(params) -> Answer:
    name = first(params, "DBSubnetGroupName").lower()
    for record in rds._instances.values():
        if (record.get("DBSubnetGroup") or {}).get("DBSubnetGroupName") == name:
            raise Refused(
                "InvalidDBSubnetGroupStateFault",
                f"Cannot delete the subnet group '{name}' because at least one database instance: "
                f"{record['DBInstanceIdentifier']} is still using it.",
            )
    return _made["DeleteDBSubnetGroup"]({**params, "DBSubnetGroupName": [name]})


# Installation --------------------------------------------------------------------------------------


def instance_xml(record: dict) -> str:
    """ministack's, without what an instance does not have (yet): its endpoint while it is created, empty names."""
    text = _instance_xml({**record, "Endpoint": record.get("Endpoint") or {}})
    if not record.get("Endpoint"):
        text = re.sub(r"<Endpoint>.*?</Endpoint>", "", text, flags=re.DOTALL)
    return re.sub(rf"<({EMPTY})></\1>", "", text)


def _lower(act):
    """Identifiers are kept in lower case, whatever the request says."""

    def call(params) -> Answer:
        name = first(params, "DBInstanceIdentifier")
        return act(
            {**params, "DBInstanceIdentifier": [name.lower()]} if name and not name.startswith("arn:") else params
        )

    return call


def account_attributes(params) -> Answer:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeAccountAttributes.html: of its quotas, those
    that hold here."""
    from account import quotas

    manual = [one for one in rds._snapshots.values() if one.get("SnapshotType", "manual") == "manual"]
    rows = (
        ("DBInstances", "L-7B6409FD", len(list(rds._instances.keys()))),
        ("ManualSnapshots", "L-272F1212", len(manual)),
        ("DBSubnetGroups", "L-48C6BF61", len(list(rds._subnet_groups.keys()))),
    )
    shown = "".join(
        f"<AccountQuota><AccountQuotaName>{name}</AccountQuotaName><Used>{used}</Used>"
        f"<Max>{quotas.value(code):g}</Max></AccountQuota>"
        for name, code, used in rows
    )
    answer = f"<DescribeAccountAttributesResult><AccountQuotas>{shown}</AccountQuotas></DescribeAccountAttributesResult>"
    return rds._xml(200, "DescribeAccountAttributesResponse", answer)


def _not_here(params) -> Answer:
    raise Refused("InvalidParameterCombination", f"{first(params, 'Action')} is not emulated")


_made = dict(rds._ACTION_MAP)
_instance_xml = rds._instance_xml
ACTIONS = {
    "CreateDBInstance": create,
    "ModifyDBInstance": modify,
    "DeleteDBInstance": delete,
    "RebootDBInstance": reboot,
    "StartDBInstance": start_instance,
    "StopDBInstance": stop_instance,
    "CreateDBSnapshot": create_snapshot,
    "DeleteDBSnapshot": delete_snapshot,
    "CreateDBSubnetGroup": create_subnet_group,
    "ModifyDBSubnetGroup": modify_subnet_group,
    "DeleteDBSubnetGroup": delete_subnet_group,
    "DescribeAccountAttributes": account_attributes,
    "DescribeDBInstances": _lower(_made["DescribeDBInstances"]),
    "CreateDBInstanceReadReplica": _not_here,
    "RestoreDBInstanceFromDBSnapshot": restore,
    "RestoreDBInstanceToPointInTime": _not_here,
}


def _stacks() -> None:
    """CloudFormation makes the same instances and subnet groups, by the same API."""
    from ministack.services.cloudformation import provisioners

    types = provisioners._RESOURCE_HANDLERS
    same = (
        *AT_ONCE,
        *DEFERRED,
        "DBName",
        "DBParameterGroupName",
        "DBSubnetGroupName",
        "Engine",
        "KmsKeyId",
        "MasterUserPassword",
        "MasterUsername",
        "Port",
        "StorageEncrypted",
    )

    def flat(identifier: str, props: dict) -> dict:
        params = {"DBInstanceIdentifier": [identifier]}
        for name in same:
            if name in props:
                value = props[name]
                params[name] = [str(value).lower() if isinstance(value, bool) else str(value)]
        for i, group in enumerate(props.get("VPCSecurityGroups") or [], 1):
            params[f"VpcSecurityGroupIds.member.{i}"] = [group]
        for i, tag in enumerate(props.get("Tags") or [], 1):
            params |= {f"Tags.Tag.{i}.Key": [tag["Key"]], f"Tags.Tag.{i}.Value": [tag["Value"]]}
        return params

    def settled(identifier: str) -> tuple:
        while True:
            record = rds._instances[identifier]
            if record["DBInstanceStatus"] == "failed":
                raise ValueError(f"DB instance {identifier} failed")
            if record["DBInstanceStatus"] == "available" and not record["PendingModifiedValues"]:
                endpoint = record["Endpoint"]
                return identifier, {
                    "Endpoint.Address": endpoint["Address"],
                    "Endpoint.Port": str(endpoint["Port"]),
                    "DbiResourceId": record["DbiResourceId"],
                    "DBInstanceArn": record["DBInstanceArn"],
                }
            time.sleep(0.02)

    def act(call, params) -> None:
        try:
            call(params)
        except Refused as refused:
            raise ValueError(f"{refused} (Service: Rds, {refused.code})") from None

    def instance_create(logical_id, props, stack_name):
        identifier = props.get("DBInstanceIdentifier") or provisioners._physical_name(
            stack_name, logical_id, lowercase=True, max_len=63
        )
        act(create, flat(identifier.lower(), props))
        return settled(identifier.lower())

    def instance_update(physical_id, old, new, stack_name, logical_id=None):
        changed = {name: value for name, value in new.items() if old.get(name) != value}
        act(modify, {**flat(physical_id, changed), "ApplyImmediately": ["true"]})
        return settled(physical_id)

    def instance_delete(physical_id, props):
        if physical_id in rds._instances:
            act(delete, {"DBInstanceIdentifier": [physical_id], "SkipFinalSnapshot": ["true"]})
            while physical_id in rds._instances:
                time.sleep(0.02)

    def group_create(logical_id, props, stack_name):
        if props.get("DBSubnetGroupName"):
            props = {**props, "DBSubnetGroupName": props["DBSubnetGroupName"].lower()}
        return make_group(logical_id, props, stack_name)

    instances, groups = "AWS::RDS::DBInstance", "AWS::RDS::DBSubnetGroup"
    make_group = types[groups]["create"]
    types[instances] = {
        **types[instances],
        "create": instance_create,
        "update": instance_update,
        "delete": instance_delete,
    }
    types[groups] = {**types[groups], "create": group_create}


def install() -> None:
    control.route("GET", "/rds-ca", lambda _request: {"pem": postgres.authority().certificate})

    def answering(act):
        def call(params) -> Answer:
            try:
                return act(params)
            except Refused as refused:
                return refused.answer

        return call

    mine = {name: answering(act) for name, act in ACTIONS.items()}
    rds._ACTION_MAP.update(mine)
    rds._instance_xml = instance_xml
    # CloudFormation calls these by name.
    rds._create_subnet_group, rds._modify_subnet_group = mine["CreateDBSubnetGroup"], mine["ModifyDBSubnetGroup"]
    rds._delete_subnet_group = mine["DeleteDBSubnetGroup"]
    _stacks()


def reset() -> None:
    found = list(_databases.values())
    _databases.clear()
    for database in found:
        database.ended.set()
    for database in found:
        database.discard()
    _images.clear()
    shutil.rmtree(_kept_in(), ignore_errors=True)


def stop() -> None:
    for database in list(_databases.values()):
        database.ended.set()
        if database.server:
            database.server.wanted = False
            database.server.discard()
