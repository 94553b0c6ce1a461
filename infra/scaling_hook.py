"""Runs `logtally reference add|remove` when Auto Scaling launched or ended an instance. Counts and parses nothing.

Works for Auto Scaling groups with the tag logtally:application (and logtally:contact, if there is somebody to contact).
The instance's private address and private DNS name enter the reference data; instances/ID in the bucket remembers them,
because an instance that has ended has neither any more. Each step may be done twice: an event that comes again, or a
retry after a failure half-way, changes nothing further.

What it cannot do: instances launched before the rule existed (add them by hand); further network interfaces, IPv6
addresses and elastic addresses; a host behind a proxy or NAT, which the logs do not show; a wish in the log for any
other name than the private DNS name. A line that is read in the seconds between the launch and this event counts as
Unknown, and one that is read after the end, too: use ValidFrom and ValidTo in the reference data where that matters.
"""

import json
import os
import subprocess

import boto3
from botocore.exceptions import ClientError

APPLICATION = "logtally:application"
CONTACT = "logtally:contact"
LAUNCHED = "EC2 Instance Launch Successful"
ENDED = "EC2 Instance Terminate Successful"
ALIVE = ["pending", "running"]
PROGRAM = os.environ.get("LOGTALLY_PROGRAM", os.path.join(os.path.dirname(__file__), "logtally"))
# The program's own time limit is the function's; it must end first to say what was in its way.
SECONDS = 25


def handler(event, _context):
    """One event of Auto Scaling; an error makes Lambda try again, and then puts the event into the dead letters."""
    detail = event["detail"]
    step = {LAUNCHED: launched, ENDED: ended}[event["detail-type"]]
    done = step(detail["EC2InstanceId"], detail["AutoScalingGroupName"])
    print(json.dumps({"event": event["detail-type"], "instance": detail["EC2InstanceId"], "done": done}))
    return done


def launched(instance_id, group):
    """Adds the hosts of the instance; returns what `logtally` said."""
    tags = tags_of(group)
    if APPLICATION not in tags:
        return [f"{group} has no tag {APPLICATION}"]
    hosts = hosts_of(instance_id)
    if not hosts:
        return [f"{instance_id} has ended"]
    # First remembered, then added: what is added can be removed, whatever happens in between.
    remembered = {"Bucket": bucket(), "Key": key(instance_id)}
    boto3.client("s3").put_object(**remembered, Body=json.dumps(hosts).encode())
    return [logtally("add", "--", host, tags[APPLICATION], tags.get(CONTACT, "")) for host in hosts]


def ended(instance_id, _group):
    """Removes the hosts of the instance that no other has by now; returns what `logtally` said."""
    s3 = boto3.client("s3")
    remembered = {"Bucket": bucket(), "Key": key(instance_id)}
    try:
        hosts = json.load(s3.get_object(**remembered)["Body"])
    except ClientError as error:
        if error.response["Error"]["Code"] == "NoSuchKey":
            return [f"{instance_id} was not added"]
        raise
    done = []
    for host in hosts:
        heir = heir_of(host, instance_id)
        done.append(f"{host} is {heir} by now" if heir else logtally("remove", "--", host))
    s3.delete_object(**remembered)
    return done


def logtally(*arguments):
    """What `logtally reference …` prints; it repeats an edit that meets another by itself."""
    command = [PROGRAM, "reference", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"logtally reference {arguments[0]}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def tags_of(group):
    """The tags of an Auto Scaling group."""
    pages = boto3.client("autoscaling").get_paginator("describe_tags")
    found = pages.paginate(Filters=[{"Name": "auto-scaling-group", "Values": [group]}])
    return {tag["Key"]: tag.get("Value", "") for page in found for tag in page["Tags"]}


def hosts_of(instance_id):
    """The names under which a living instance calls; none of one that has ended."""
    for instance in instances(InstanceIds=[instance_id]):
        if instance["State"]["Name"] in ALIVE:
            names = [instance.get("PrivateIpAddress"), instance.get("PrivateDnsName")]
            return [name for name in names if name]
    return []


def heir_of(host, instance_id):
    """The living instance, other than this, that the host belongs to."""
    name = "private-dns-name" if any(letter.isalpha() for letter in host) else "private-ip-address"
    filters = [{"Name": name, "Values": [host]}, {"Name": "instance-state-name", "Values": ALIVE}]
    others = (instance["InstanceId"] for instance in instances(Filters=filters))
    return next((other for other in others if other != instance_id), None)


def instances(**which):
    """The instances that EC2 knows of."""
    pages = boto3.client("ec2").get_paginator("describe_instances").paginate(**which)
    return (instance for page in pages for place in page["Reservations"] for instance in place["Instances"])


def bucket():
    """The bucket of the pipeline."""
    return os.environ["LOGTALLY_AWS_BUCKET"]


def key(instance_id):
    """Where the hosts of an instance are remembered."""
    return f"instances/{instance_id}"
