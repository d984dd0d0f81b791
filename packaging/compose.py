"""Holds compose/compose.yaml against what it promises: nothing has a right, a password or a disk that it does not need. There is no
Docker here to run it; what it mounts is tried with the real programs by packaging/check."""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

FOLDER = Path(__file__).parent.parent / "compose"
passed, failures = 0, []


def check(what, holds, why=""):
    """Counts a check, and remembers it if it does not hold."""
    global passed
    if holds:
        passed += 1
    else:
        failures.append(f"{what}: {why}" if why else what)


def main():
    compose = yaml.safe_load((FOLDER / "compose.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        secrets = Path(folder) / "secrets"
        made = [subprocess.run([FOLDER / "make-secrets", place], capture_output=True) for place in (secrets, f"{folder}/again")]
        check("make-secrets makes them", made[0].returncode == 0, str(made[0].stderr))
        check("make-secrets changes none", subprocess.run([FOLDER / "make-secrets", secrets], capture_output=True).returncode == 1)
        texts = {path.name: path.read_text() for path in secrets.iterdir()}
        check("no two have the same passwords", texts["edge_amqp_url"] != (Path(folder) / "again/edge_amqp_url").read_text())
        check("no password is left out", not [name for name, text in texts.items() if "PASSWORD-" in text])
        check("the folder is closed", secrets.stat().st_mode & 0o077 == 0)
    for name, secret in compose["secrets"].items():
        check(f"make-secrets makes {name}", Path(secret["file"]).name in texts)
    internal = [name for name, network in compose["networks"].items() if network and network.get("internal")]
    for name, service in compose["services"].items():
        check(f"{name} cannot write to its root", service["read_only"])
        check(f"{name} has no capability", service["cap_drop"] == ["ALL"] and "cap_add" not in service)
        check(f"{name} gains none", service["security_opt"] == ["no-new-privileges:true"])
        check(f"{name} has limits", service["mem_limit"] and service["pids_limit"])
        check(f"{name}'s log is turned over", service["logging"]["options"]["max-size"])
        check(f"{name} is asked how it is", "healthcheck" in service or name == "migrate")
        check(f"{name} is not root", "user" in service or service["image"] == "chinwag")
        check(f"{name} is of a version", ":" in service["image"] or service["image"] == "chinwag")
        ports = service.get("ports", [])
        check(f"{name} is open to this machine alone", all(port.startswith("127.0.0.1:") for port in ports))
        check(f"{name} is on its own networks", set(service["networks"]) <= set(compose["networks"]))
        if name in ("redis", "rabbitmq", "mysql"):
            check(f"{name} is out of reach", service["networks"] == internal)
        environment = service.get("environment", {})
        for key, value in environment.items():
            # Whether there are passwords is none.
            if key == "PASSWORDS":
                continue
            is_secret = "@" in str(value) or any(word in key for word in ("PASSWORD", "_KEY", "SECRET"))
            check(f"{name}: {key} is no secret by itself", not is_secret or key.endswith("_FILE"))
            if key.endswith("_FILE"):
                # What is handed on as it is set can only be what its name says.
                secret = Path(value).name if value else key.removesuffix("_FILE").lower()
                check(f"{name} has {secret}", secret in service["secrets"] and secret in compose["secrets"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./secrets/"):
                check(f"make-secrets makes {source}", Path(source).name in texts)
            elif source.startswith("./"):
                check(f"{source} is there", (FOLDER / source).exists())
            else:
                check(f"{source} is a volume", source in compose["volumes"])
        if service["image"] == "chinwag" and name != "migrate":
            check(f"{name} has time to drain", service["stop_grace_period"] == "25s")
    handed_on = [line.split("`")[1::2] for line in (FOLDER.parent / "docs/settings.md").read_text().splitlines()]
    handed_on = [names[0] for names in handed_on if names and names[0].startswith(("OIDC_", "PASSWORDS"))]
    for name in handed_on:
        edge = compose["services"]["ws-edge"]["environment"]
        check(f"an edge may be told {name}", name in edge or f"{name}_FILE" in edge)
    check("there are two edges behind the balancer", compose["services"]["ws-edge"]["scale"] == 2)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"test result: {'FAILED' if failures else 'ok'}. {passed} passed; {len(failures)} failed; compose")
    sys.exit(bool(failures))


main()
