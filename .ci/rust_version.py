"""Fails if a package of the workspace states a rust-version below that of a package it is built with."""

import json
import sys


def number(version):
    return tuple(int(part) for part in (version or "0").split("."))


metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node["dependencies"] for node in metadata["resolve"]["nodes"]}
members = set(metadata["workspace_members"])
# Of a package that may not be published the list of registries is empty.
checked = {member for member in members if "--published" not in sys.argv or packages[member]["publish"] != []}

bad = []
for member in checked:
    stated = packages[member]["rust_version"]
    seen, todo = set(), [member]
    while todo:
        package = todo.pop()
        if package in seen:
            continue
        seen.add(package)
        todo.extend(nodes[package])
    for package in seen - members:
        needed = packages[package]["rust_version"]
        if number(needed) > number(stated):
            name = packages[package]["name"]
            bad.append(f"{packages[member]['name']} states {stated}, {name} needs {needed}")
print(*sorted(bad), sep="\n", file=sys.stderr)
sys.exit(bool(bad))
