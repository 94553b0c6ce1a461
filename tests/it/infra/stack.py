#!/usr/bin/env python3
"""Creates infra/logtally.yaml on moto, in this process, and prints as JSON what it then finds there.

    stack.py KEY=VALUE…

The arguments are parameters of the template. moto deploys no alarms and no bucket policy, and passes over some properties,
so that the template's own resources are printed, too, with references resolved where they go to a parameter.
"""

import ast
import io
import json
import os
import sys
import zipfile
from pathlib import Path

import boto3
from cfnlint.decode import cfn_yaml
from moto import mock_aws

TEMPLATE = Path(__file__).parents[3] / "infra" / "logtally.yaml"
REGION = "eu-west-1"
ARTIFACTS = {"ArtifactBucket": "artifacts", "Artifact": "hash"}


def upload_artifacts(s3) -> None:
    s3.create_bucket(Bucket="artifacts", CreateBucketConfiguration={"LocationConstraint": REGION})
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("bootstrap", "")
    for name in ("logtally-lambda.zip", "scaling-hook.zip"):
        s3.put_object(Bucket="artifacts", Key=f"hash/{name}", Body=archive.getvalue())


def subnet(ec2) -> str:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]


def tables() -> dict:
    dynamodb = boto3.client("dynamodb")
    found = {}
    for name in dynamodb.list_tables()["TableNames"]:
        table = dynamodb.describe_table(TableName=name)["Table"]
        expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        found[name] = {
            "key": [key["AttributeName"] for key in table["KeySchema"]],
            "types": [attribute["AttributeType"] for attribute in table["AttributeDefinitions"]],
            "expires": expiry.get("AttributeName"),
        }
    return found


def functions() -> dict:
    client = boto3.client("lambda")
    found = {}
    for function in client.list_functions()["Functions"]:
        name = function["FunctionName"]
        sources = client.list_event_source_mappings(FunctionName=name)["EventSourceMappings"]
        found[name] = {
            "environment": function["Environment"]["Variables"],
            "handler": function["Handler"],
            "memory": function["MemorySize"],
            "timeout": function["Timeout"],
            "sources": [source["EventSourceArn"].split(":")[-1] for source in sources],
        }
    return found


def policies() -> dict:
    """The statements of every policy that was deployed, by role or managed policy."""
    iam = boto3.client("iam")
    found = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        documents = [
            iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]
        ]
        # moto gives those of roles as the text of a Python dictionary.
        documents = [ast.literal_eval(document) if isinstance(document, str) else document for document in documents]
        found[name] = [statement for document in documents for statement in document["Statement"]]
    for policy in iam.list_policies(Scope="Local")["Policies"]:
        version = iam.get_policy_version(PolicyArn=policy["Arn"], VersionId=policy["DefaultVersionId"])
        found[policy["PolicyName"]] = version["PolicyVersion"]["Document"]["Statement"]
    return found


def describe(stack: str) -> dict:
    resources = boto3.client("cloudformation").list_stack_resources(StackName=stack)["StackResourceSummaries"]
    dashboards = boto3.client("cloudwatch").list_dashboards()["DashboardEntries"]
    bodies = [
        boto3.client("cloudwatch").get_dashboard(DashboardName=entry["DashboardName"])["DashboardBody"]
        for entry in dashboards
    ]
    groups = boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return {
        "resources": [name for name in (resource["LogicalResourceId"] for resource in resources) if name],
        "streams": boto3.client("kinesis").list_streams()["StreamNames"],
        "tables": tables(),
        "functions": functions(),
        "policies": policies(),
        "queues": boto3.client("sqs").list_queues().get("QueueUrls", []),
        "topics": [topic["TopicArn"] for topic in boto3.client("sns").list_topics()["Topics"]],
        "rules": [rule["Name"] for rule in boto3.client("events").list_rules()["Rules"]],
        "logs": [group["logGroupName"] for group in boto3.client("logs").describe_log_groups()["logGroups"]],
        "groups": [group["AutoScalingGroupName"] for group in groups],
        "dashboards": [json.loads(body) for body in bodies],
    }


def template(parameters: dict) -> dict:
    """The template's resources, references to parameters resolved."""
    read = cfn_yaml.load(str(TEMPLATE))
    values = {name: parameter.get("Default") for name, parameter in read["Parameters"].items()} | parameters

    def resolve(node):
        if isinstance(node, dict):
            if set(node) == {"Ref"} and node["Ref"] in values:
                return values[node["Ref"]]
            return {name: resolve(child) for name, child in node.items()}
        return [resolve(child) for child in node] if isinstance(node, list) else node

    return resolve(read["Resources"])


@mock_aws
def main() -> None:
    parameters = dict(argument.split("=", 1) for argument in sys.argv[1:])
    upload_artifacts(boto3.client("s3"))
    if "workers" in parameters.values():
        parameters["Subnets"] = subnet(boto3.client("ec2"))
    parameters |= ARTIFACTS
    boto3.client("cloudformation").create_stack(
        StackName="logtally",
        TemplateBody=TEMPLATE.read_text(encoding="utf-8"),
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    print(json.dumps(describe("logtally") | {"template": template(parameters)}))


if __name__ == "__main__":
    for variable, value in (("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")):
        os.environ[variable] = value
    os.environ["AWS_DEFAULT_REGION"] = REGION
    main()
