#!/usr/bin/env python3
"""Runs infra/scaling_hook.py with the real `logtally` on instances that moto launches and ends, and checks hosts.csv.

    hook.py LOGTALLY

LOGTALLY is the program. The reference data is a local file here; everything else is where it is on AWS.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
from moto import mock_aws

REGION = "eu-west-1"
BUCKET = "logtally-test"
APPLICATION = {"logtally:application": "Billing", "logtally:contact": "billing@example.com"}


def launch(tags: dict) -> tuple:
    """An Auto Scaling group with these tags and one instance: their names, and the hosts of the instance."""
    ec2, autoscaling = boto3.client("ec2"), boto3.client("autoscaling")
    name = f"group-{len(autoscaling.describe_auto_scaling_groups()['AutoScalingGroups'])}"
    image = ec2.describe_images()["Images"][0]["ImageId"]
    autoscaling.create_launch_configuration(
        LaunchConfigurationName=name, ImageId=image, InstanceType="t3.small"
    )
    marks = [
        {"Key": key, "Value": value, "PropagateAtLaunch": False, "ResourceId": name, "ResourceType": "auto-scaling-group"}
        for key, value in tags.items()
    ]
    autoscaling.create_auto_scaling_group(
        AutoScalingGroupName=name,
        LaunchConfigurationName=name,
        MinSize=1,
        MaxSize=1,
        AvailabilityZones=[f"{REGION}a"],
        Tags=marks,
    )
    group = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    instance = group["Instances"][0]["InstanceId"]
    seen = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    return name, instance, [seen["PrivateIpAddress"], seen["PrivateDnsName"]]


def event(kind: str, group: str, instance: str) -> dict:
    """What EventBridge hands over, as far as the hook looks at it."""
    return {
        "source": "aws.autoscaling",
        "detail-type": f"EC2 Instance {kind} Successful",
        "detail": {"AutoScalingGroupName": group, "EC2InstanceId": instance, "StatusCode": "InProgress"},
    }


@mock_aws
def main() -> None:
    program = Path(sys.argv[1]).resolve()
    hosts_csv = Path(tempfile.mkdtemp()) / "hosts.csv"
    hosts_csv.write_text("Host,ApplicationName,Contact\nold.example.com,Search,\n", encoding="utf-8")
    os.environ |= {
        "LOGTALLY_PROGRAM": str(program),
        "LOGTALLY_AWS_BUCKET": BUCKET,
        "LOGTALLY_ANALYZE_REFERENCE": str(hosts_csv),
        "HOME": str(hosts_csv.parent),
    }
    sys.path.append(str(Path(__file__).parents[3] / "infra"))
    import scaling_hook

    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def rows() -> list:
        return hosts_csv.read_text(encoding="utf-8").splitlines()[1:]

    def remembered() -> list:
        return [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    before = rows()
    group, instance, hosts = launch(APPLICATION)
    added = [f"{host},Billing,billing@example.com" for host in hosts]
    for _ in range(2):
        scaling_hook.handler(event("Launch", group, instance), None)
        assert rows() == before + added, rows()
        assert remembered() == [f"instances/{instance}"], remembered()

    untagged, stranger, _ = launch({})
    said = scaling_hook.handler(event("Launch", untagged, stranger), None)
    assert said == [f"{untagged} has no tag logtally:application"], said
    assert rows() == before + added, rows()

    # The end of an instance whose address another has by now: the address stays with that one.
    scaling_hook.heir_of, asked = (lambda host, _: stranger if host == hosts[0] else None), scaling_hook.heir_of
    assert asked(hosts[0], instance) is None, "no other instance has the address"
    assert asked(hosts[0], stranger) == instance, "the instance itself has it"
    boto3.client("ec2").terminate_instances(InstanceIds=[instance])
    scaling_hook.handler(event("Terminate", group, instance), None)
    assert rows() == before + added[:1], rows()
    assert remembered() == [], remembered()
    scaling_hook.heir_of = asked

    subprocess.run([program, "reference", "remove", hosts[0]], check=True, capture_output=True)
    said = scaling_hook.handler(event("Terminate", group, instance), None)
    assert said == [f"{instance} was not added"], said
    said = scaling_hook.handler(event("Launch", group, instance), None)
    assert said == [f"{instance} has ended"], said
    assert rows() == before, rows()

    # The plain end: both names leave.
    group, instance, hosts = launch(APPLICATION)
    scaling_hook.handler(event("Launch", group, instance), None)
    assert len(rows()) == len(before) + 2, rows()
    boto3.client("ec2").terminate_instances(InstanceIds=[instance])
    scaling_hook.handler(event("Terminate", group, instance), None)
    assert rows() == before, rows()

    # What logtally refuses is an error, so that Lambda tries again and then tells.
    hosts_csv.write_text("nonsense\n", encoding="utf-8")
    group, instance, _ = launch(APPLICATION)
    try:
        scaling_hook.handler(event("Launch", group, instance), None)
    except RuntimeError as error:
        assert "logtally reference add: exit code 65" in str(error), error
    else:
        raise AssertionError("a broken file was edited")


if __name__ == "__main__":
    os.environ |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION}
    main()
