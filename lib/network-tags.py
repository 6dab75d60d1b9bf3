"""Tags a VPC and subnets that the stack did not make, and takes off what it put on.

The stack's mark on each says which tags were put on, not found: stacks can share a VPC, and the customer's tags stay.
"""
import json
import time
import urllib.request

import boto3
from botocore.exceptions import ClientError

ENABLED, PRIVATE, MARKS = "langgraph-cloud-enabled", "langgraph-cloud-private", "freehold:network:"
ec2 = boto3.client("ec2")


def wanted(props):
    tags = {props["VpcId"]: {ENABLED: "1"}}
    for key, value in (("PrivateSubnetIds", "1"), ("PublicSubnetIds", "0")):
        tags.update({subnet: {ENABLED: "1", PRIVATE: value} for subnet in props.get(key) or []})
    return tags


def found(ids):
    """By filter: what is gone is left out instead of being an error."""
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "vpc-id", "Values": ids}])["Vpcs"]
    subnets = ec2.describe_subnets(Filters=[{"Name": "subnet-id", "Values": ids}])["Subnets"]
    return {item.get("SubnetId") or item["VpcId"]: item for item in vpcs + subnets}


def tags_of(item):
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags") or []}


def put(tags, mark, ours):
    """The tags put on by this stack, or by the others."""
    marks = [key for key in tags if key.startswith(MARKS) and (key == mark) == ours]
    return {word for key in marks for word in tags[key].split()}


def claim(props):
    want, mark = wanted(props), props["Mark"]
    have = found(list(want))
    missing = sorted(set(want) - set(have))
    if missing:
        raise ValueError(f"not in this account and region: {', '.join(missing)}")
    for id, item in have.items():
        if item["VpcId"] != props["VpcId"]:
            raise ValueError(f"{id} is in {item['VpcId']}, not in {props['VpcId']}")
    if len({have[id]["AvailabilityZone"] for id in props["PrivateSubnetIds"]}) < 2:
        raise ValueError("all private subnets are in one availability zone: give two or more zones")
    for id, tags in want.items():
        now = tags_of(have[id])
        ours, theirs = put(now, mark, True), put(now, mark, False)
        for key, value in tags.items():
            if now.get(key, value) != value and (key not in ours or key in theirs):
                raise ValueError(f"{id} is tagged {key}={now[key]}, this stack needs {value}: mend one of them")
        new = {key: tags[key] for key in ours | theirs | set(tags) - set(now) if key in tags}
        if new:
            new[mark] = " ".join(sorted(new))
            ec2.create_tags(Resources=[id], Tags=[{"Key": k, "Value": v} for k, v in new.items()])
    return {"CidrBlock": have[props["VpcId"]]["CidrBlock"]}


def release(mark, ids):
    for id, item in found(ids).items() if ids else ():
        now = tags_of(item)
        if mark in now:
            keys = put(now, mark, True) - put(now, mark, False) | {mark}
            ec2.delete_tags(Resources=[id], Tags=[{"Key": key} for key in keys])


def act(event):
    props, old = event["ResourceProperties"], event.get("OldResourceProperties")
    if event["RequestType"] == "Delete":
        return release(props["Mark"], list(wanted(props)))
    data = claim(props)
    if old:
        release(old["Mark"], [id for id in wanted(old) if id not in wanted(props)])
    return data


def handler(event, context):
    answer = {key: event[key] for key in ("StackId", "RequestId", "LogicalResourceId")}
    answer["PhysicalResourceId"] = event.get("PhysicalResourceId") or event["LogicalResourceId"]
    for wait in (5, 10, 20, 0):
        try:
            answer.update(Status="SUCCESS", Data=act(event) or {})
            break
        except Exception as error:
            answer.update(Status="FAILED", Reason=str(error))
            # A role made a moment ago is not known everywhere yet.
            if not isinstance(error, ClientError) or "Unauthorized" not in str(error):
                break
            time.sleep(wait)
    body = json.dumps(answer).encode()
    urllib.request.urlopen(urllib.request.Request(event["ResponseURL"], body, {"Content-Type": ""}, method="PUT"))
