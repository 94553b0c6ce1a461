#!/usr/bin/env python3
"""Prints what the program is made of, as a CycloneDX 1.6 document: python3 infra/sbom.py [TARGET] > logtally.cdx.json

Every crate of Cargo.lock that is compiled into the binaries for TARGET (default: this machine), with its licence, its
checksum and what it depends on; crates that only build scripts need have the scope "excluded". Test-only crates are
left out. The same source gives the same document. Needs cargo, and nothing that cargo does not fetch anyway.
"""

import json
import os
import pathlib
import subprocess
import sys
import tomllib
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")


def host():
    """The target that cargo builds for by itself."""
    said = subprocess.run([CARGO, "-vV"], check=True, capture_output=True, text=True).stdout
    return next(line.removeprefix("host: ") for line in said.splitlines() if line.startswith("host: "))


def metadata(target):
    command = [CARGO, "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    return json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)


def compiled(target, edges):
    """Name and version of every crate that is compiled for the program; what only tests ask for asks for features too."""
    command = [CARGO, "tree", "--locked", "--target", target, "--edges", edges, "--prefix", "none", "--no-dedupe"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    return {tuple(line.replace(" v", " ", 1).split(" ")[:2]) for line in said.splitlines()}


def dependencies(node):
    return [dep["pkg"] for dep in node["deps"] if any(kind["kind"] in (None, "build") for kind in dep["dep_kinds"])]


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, linked, checksums):
    # Old manifests separate alternatives by a slash.
    licence = " ".join((package["license"] or "NOASSERTION").replace("/", " OR ").split())
    found = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": "required" if linked else "excluded",
        "licenses": [{"expression": licence}],
        "purl": purl(package),
    }
    checksum = checksums.get((package["name"], package["version"]))
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        found["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return found


def document(target):
    graph = metadata(target)
    packages = {package["id"]: package for package in graph["packages"]}
    nodes = {node["id"]: node for node in graph["resolve"]["nodes"]}
    root = graph["resolve"]["root"]
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(p["name"], p["version"]): p.get("checksum") for p in lock["package"]}
    name_of = {package: (found["name"], found["version"]) for package, found in packages.items()}
    linked, everything = compiled(target, "normal"), compiled(target, "normal,build")
    in_order = sorted((package for package in nodes if name_of[package] in everything), key=name_of.get)
    own = component(packages[root], True, checksums) | {"type": "application"}
    edges = [
        {
            "ref": purl(packages[package]),
            "dependsOn": sorted({purl(packages[d]) for d in dependencies(nodes[package]) if name_of[d] in everything}),
        }
        for package in in_order
    ]
    body = {
        "metadata": {"component": own, "properties": [{"name": "cargo:target", "value": target}]},
        "components": [
            component(packages[package], name_of[package] in linked, checksums) for package in in_order if package != root
        ],
        "dependencies": edges,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(body, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "serialNumber": f"urn:uuid:{serial}", "version": 1}
    return head | body


if __name__ == "__main__":
    json.dump(document(sys.argv[1] if len(sys.argv) > 1 else host()), sys.stdout, indent=1)
    print()
