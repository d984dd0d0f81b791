"""What is in the image: writes a list of contents in CycloneDX' form, of the crates that the programs are made of, of what the page
bundles, and of Debian's packages in a root folder. `contents.py OUT [ROOT]`."""

import json
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent
PROGRAMS = ["ws-edge", "bot-worker", "persister", "standalone", "practice-model"]


def crates():
    """Each crate that is linked into a program, not those that only build or test it."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", "--filter-platform=x86_64-unknown-linux-gnu"]
    metadata = json.loads(subprocess.check_output(command, cwd=HERE))
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [id for id, package in packages.items() if package["name"] in PROGRAMS]
    linked = set()
    while waiting:
        id = waiting.pop()
        if id in linked:
            continue
        linked.add(id)
        for dependency in nodes[id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    for id in linked:
        package = packages[id]
        licence = (package["license"] or "").replace("/", " OR ")
        yield component("cargo", package["name"], package["version"], licence)


def bundled():
    """What the page has in it."""
    for name, version, licence in re.findall(r"^-{100}\n(\S+) (\S+) \(([^\n]*)\)$", (HERE / "NOTICES").read_text(), re.MULTILINE):
        yield component("npm", name, version, licence.strip("()"))


def debian(root):
    """Debian's packages below a folder."""
    command = ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show", "--showformat=${Package} ${Version}\n"]
    for line in subprocess.check_output(command, text=True).splitlines():
        name, version = line.split(" ")
        yield component("deb/debian", name, version, "")


def component(kind, name, version, licence):
    licences = {"licenses": [{"expression": licence}]} if licence else {}
    return {"type": "library", "name": name, "version": version, "purl": f"pkg:{kind}/{name}@{version}", **licences}


def main():
    out, root = Path(sys.argv[1]), sys.argv[2:]
    parts = {"crates": list(crates()), "npm packages": list(bundled()), "Debian packages": list(debian(root[0])) if root else []}
    components = sorted((c for part in parts.values() for c in part), key=lambda c: c["purl"])
    about = {"component": {"type": "application", "name": "chinwag"}}
    bom = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": about, "components": components}
    out.write_text(json.dumps(bom, indent=1) + "\n")
    print(f"contents: {', '.join(f'{len(part)} {what}' for what, part in parts.items())}, in {out}")


main()
