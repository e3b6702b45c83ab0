"""Prints what the wheel links statically as an SBOM of CycloneDX, without any path of this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

ROOT = Path(__file__).resolve().parent.parent
# As `make licences` has it.
RESOLVED = (
    "--locked",
    "--format-version=1",
    "--features=python",
    "--filter-platform=x86_64-unknown-linux-gnu",
)

LISTED = (
    *("--locked", "--features=python", "--edges=normal,no-proc-macro", "--target=x86_64-unknown-linux-gnu"),
    *("--prefix=none", "--no-dedupe", "--format={p}"),
)


def main() -> None:
    """Prints the SBOM."""
    done = subprocess.run(["cargo", "metadata", *RESOLVED], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found = json.loads(done.stdout)
    # Which features are on is only told without the tests' dependencies by `cargo tree`.
    tree = subprocess.run(["cargo", "tree", *LISTED], cwd=ROOT, check=True, capture_output=True, text=True)
    listed = set(tree.stdout.splitlines())
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    checksums = {
        (package["name"], package["version"]): package.get("checksum")
        for package in tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))["package"]
    }
    root = found["resolve"]["root"]
    linked = {root: linked_by(nodes[root], packages, listed)}
    unseen = list(linked[root])
    while unseen:
        crate = unseen.pop()
        if crate not in linked:
            linked[crate] = linked_by(nodes[crate], packages, listed)
            unseen += linked[crate]
    ours = packages[root]
    names = {crate: f"pkg:cargo/{packages[crate]['name']}@{packages[crate]['version']}" for crate in linked}
    names[root] = f"pkg:pypi/ostree-sweep@{ours['version']}"
    components = [
        {
            "type": "library",
            "bom-ref": names[crate],
            "name": packages[crate]["name"],
            "version": packages[crate]["version"],
            "purl": names[crate],
            "hashes": [
                {
                    "alg": "SHA-256",
                    "content": checksums[packages[crate]["name"], packages[crate]["version"]],
                }
            ],
            "licenses": [{"expression": packages[crate]["license"].replace("/", " OR ")}],
        }
        for crate in linked
        if crate != root
    ]
    sbom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": names[root],
                "name": "ostree-sweep",
                "version": ours["version"],
                "purl": names[root],
                "licenses": [{"expression": ours["license"]}],
            }
        },
        "components": sorted(components, key=lambda component: component["purl"]),
        "dependencies": sorted(
            (
                {"ref": names[crate], "dependsOn": sorted(names[other] for other in by)}
                for crate, by in linked.items()
            ),
            key=lambda dependency: str(dependency["ref"]),
        ),
    }
    print(json.dumps(sbom, indent=1))


def linked_by(node: dict[str, Any], packages: dict[str, Any], listed: set[str]) -> list[str]:
    """The crates that a crate is linked with: no build scripts', no tests', and no procedural macros."""
    return [
        dependency["pkg"]
        for dependency in node["deps"]
        if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        and "{name} v{version}".format(**packages[dependency["pkg"]]) in listed
        and not any("proc-macro" in target["kind"] for target in packages[dependency["pkg"]]["targets"])
    ]


if __name__ == "__main__":
    main()
