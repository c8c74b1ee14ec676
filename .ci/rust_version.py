"""The declared rust-version is at least the highest among the locked dependencies."""
import json
import subprocess
import sys


def parts(version):
    return tuple(int(part) for part in (version or "0").split("."))[:2]


metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]))
own = next(package for package in metadata["packages"] if package["name"] == "mesh-router")
above = [
    f"{package['name']} {package['version']} needs {package['rust_version']}"
    for package in metadata["packages"]
    if parts(package["rust_version"]) > parts(own["rust_version"])
]
print(f"rust-version {own['rust_version']}, {len(metadata['packages'])} packages")
if above:
    sys.exit("\n".join(above))
