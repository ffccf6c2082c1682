"""Writes a CycloneDX 1.5 bill of materials: the crates that the product is built of, and no others.

    cargo metadata … | sbom.py TREE        TREE: what `cargo tree -e normal --prefix none -f {p}` says
"""
import json
import os
import sys

data = json.load(sys.stdin)
packages = {package["id"]: package for package in data["packages"]}
nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
root = data["resolve"]["root"]


def reference(identity):
    package = packages[identity]
    return f"pkg:cargo/{package['name']}@{package['version']}"


# What the product is built of is Cargo's own answer: its resolution also knows what other features and platforms would link.
used = set()
for line in open(sys.argv[1]):
    words = line.split()
    if words:
        used.add((words[0], words[1].removeprefix("v")))
reached = {identity for identity, package in packages.items() if (package["name"], package["version"]) in used}


def linked(identity):
    """What a crate links: neither what only its tests need nor what only builds it."""
    kinds = {one["pkg"]: {kind["kind"] for kind in one["dep_kinds"]} for one in nodes[identity]["deps"]}
    return [package for package, of in kinds.items() if None in of and package in reached]


locked = {}
name = version = None
for line in open("Cargo.lock"):
    key, _, value = line.strip().partition(" = ")
    value = value.strip('"')
    if key == "name":
        name = value
    elif key == "version":
        version = value
    elif key == "checksum":
        locked[name, version] = value

components = []
for identity in sorted(reached - {root}, key=reference):
    package = packages[identity]
    component = {
        "type": "library",
        "bom-ref": reference(identity),
        "name": package["name"],
        "version": package["version"],
        "purl": reference(identity),
        "licenses": [{"expression": (package["license"] or "NOASSERTION").replace("/", " OR ")}],
    }
    checksum = locked.get((package["name"], package["version"]))
    if checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    components.append(component)
json.dump(
    {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": reference(root),
                "name": "candela",
                "version": os.environ["VERSION"],
                "purl": f"{reference(root)}?vcs_revision={os.environ['COMMIT']}",
                "licenses": [{"expression": packages[root]["license"]}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": reference(identity), "dependsOn": sorted(reference(one) for one in linked(identity))}
            for identity in sorted(reached, key=reference)
        ],
    },
    sys.stdout,
    indent=1,
)
