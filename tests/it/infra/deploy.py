#!/usr/bin/env python3
"""Runs infra/deploy.sh with the AWS CLI against moto's server: deploys, deploys again, is shown changes, and destroys.

    deploy.py

The programs that it deploys are files of a few bytes: what is looked at is the way there.
"""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "fixtures" / "hosts.csv"
REGION = "eu-west-1"
STACK = "try"


def deploy(*arguments: str, answer: str = "") -> subprocess.CompletedProcess:
    command = [ROOT / "infra" / "deploy.sh", "--stack", STACK, *arguments]
    return subprocess.run(command, input=answer, capture_output=True, text=True, check=False, cwd=ROOT.parent)


def done(run: subprocess.CompletedProcess, words: str) -> None:
    assert run.returncode == 0 and words in run.stdout, f"{run.returncode}\n{run.stdout}\n{run.stderr}"


def refused(run: subprocess.CompletedProcess, code: int, words: str) -> None:
    assert run.returncode == code and words in run.stderr, f"{run.returncode}\n{run.stdout}\n{run.stderr}"


def binaries(content: str) -> str:
    """A directory with the two programs."""
    home = Path(tempfile.mkdtemp())
    for name in ("logtally", "logtally-lambda"):
        (home / name).write_text(content, encoding="ascii")
        (home / name).chmod(0o755)
    return str(home)


def stacks() -> dict:
    found = boto3.client("cloudformation").describe_stacks()["Stacks"]
    return {stack["StackName"]: stack["StackStatus"] for stack in found}


def buckets() -> list:
    return [bucket["Name"] for bucket in boto3.client("s3").list_buckets()["Buckets"]]


def hosts_csv() -> bytes:
    return boto3.client("s3").get_object(Bucket=f"{STACK}-123456789012-{REGION}", Key="hosts.csv")["Body"].read()


def check() -> None:
    programs = binaries("one")

    refused(deploy("--binaries", programs, answer="n\n"), 1, "nothing was deployed")
    assert STACK not in stacks() or stacks()[STACK].startswith("DELETE"), stacks()

    done(deploy("--binaries", programs, answer="y\n"), f"deployed: the stack {STACK}")
    assert stacks() == {STACK: "CREATE_COMPLETE"}, stacks()
    assert boto3.client("kinesis").list_streams()["StreamNames"] == [f"{STACK}-input", f"{STACK}-output"]
    assert hosts_csv() == b"Host,ApplicationName,Contact\n"

    # The same again, from other files of the same bytes; the reference data, its path as the caller sees it, is new.
    again = deploy("--binaries", binaries("one"), "--yes", "--reference", os.path.relpath(REFERENCE, ROOT.parent))
    done(again, f"nothing to change: the stack {STACK} is as it should be")
    assert "execute-change-set" not in again.stderr, again.stderr
    assert again.stderr.count("aws s3 cp") == 1, again.stderr
    assert hosts_csv() == REFERENCE.read_bytes()

    # Another program is a change, and shown. moto cannot carry it out: it then updates resources whose conditions do
    # not hold, too.
    changed = deploy("--binaries", binaries("two"), "--parameter", "LagThreshold=60", answer="n\n")
    refused(changed, 1, "nothing was deployed")
    assert "describe-change-set" in changed.stderr and "delete-change-set" in changed.stderr, changed.stderr
    assert "delete-stack" not in changed.stderr, changed.stderr
    assert stacks() == {STACK: "CREATE_COMPLETE"}, stacks()

    # Old versions and delete markers, more than one page of them, are in the way of a bucket's end, too.
    s3, artifacts = boto3.client("s3"), f"{STACK}-artifacts-123456789012-{REGION}"
    s3.put_bucket_versioning(Bucket=artifacts, VersioningConfiguration={"Status": "Enabled"})
    for number in range(260):
        s3.put_object(Bucket=artifacts, Key=f"old/{number}", Body=b"")
        s3.delete_object(Bucket=artifacts, Key=f"old/{number}")

    refused(deploy("--delete", answer="n\n"), 1, "nothing was destroyed")
    assert stacks() == {STACK: "CREATE_COMPLETE"}, stacks()
    done(deploy("--delete", "--yes"), f"destroyed: the stack {STACK}")
    assert stacks() == {}, stacks()
    assert buckets() == [], buckets()

    os.environ["AWS_ACCESS_KEY_ID"] = ""
    refused(deploy("--binaries", programs), 1, "there are no credentials that work")


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    try:
        check()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
