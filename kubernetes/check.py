"""What no cluster is needed for: renders every kustomization, holds what comes out against the schemas of two versions of
Kubernetes' API, and against what the programs are and the documents say. `./test kubernetes` runs it; with --write it adds
settings to settings/ that docs/settings.md has and they lack."""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jsonschema
import kubernetes_validate
import yaml

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs/settings.md"
# The oldest that is kept up, and the newest. (preStop's `sleep` is on from 1.30.)
VERSIONS = ["1.33", "1.37"]
KUSTOMIZATIONS = ["base", "overlays/production", "all-in-one"]
FOLDER_OF_SECRETS = "/run/secrets/chinwag"
# Headings of docs/settings.md, and where their settings are. What comes before the first is for people.
FILES = {
    "Engines": "settings/engines.env",
    "Every process": "settings/every-process.env",
    "`ws-edge`": "settings/ws-edge.env",
    "`bot-worker`": "settings/bot-worker.env",
    "`persister`": "settings/persister.env",
    "`chinwag`": "all-in-one/chinwag.env",
}

passed, failures = 0, []


def check(what, holds, why=""):
    """Counts a check, and remembers it if it does not hold."""
    global passed
    if holds:
        passed += 1
    else:
        failures.append(f"{what}: {why}" if why else what)


def documented():
    """The settings of docs/settings.md, as {file: {name: default}}."""
    settings, file = {path: {} for path in FILES.values()}, None
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
            file = next((path for start, path in FILES.items() if heading.startswith(start)), None)
            check(f"docs/settings.md: “{heading}”", file, "check.py does not know where its settings go")
        row = re.match(r"\| (`[A-Z][^|]*) \|([^|]*)\|", line)
        if row and file:
            for name in re.findall(r"`([A-Z][A-Z0-9_]+)`", row[1]):
                settings[file][name] = row[2].strip()
    return settings


def named(path):
    """The settings that a file sets, or names in a comment."""
    text = path.read_text() if path.exists() else ""
    names = re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.MULTILINE)
    return {name.removesuffix("_FILE") for name in names}


def settings_are_reachable(write):
    for file, settings in documented().items():
        path = HERE / file
        missing = [name for name in settings if name not in named(path)]
        if write and missing:
            with path.open("a") as out:
                for name in missing:
                    default = re.fullmatch(r"`([^`]*)`|([0-9.:]+|true|false)", settings[name])
                    out.write(f"#{name}={(default[1] or default[2]) if default else ''}\n")
            missing = []
        check(f"kubernetes/{file} has every setting", not missing, f"{missing}: kubernetes/check --write adds them")
        unknown = named(path) - set(settings)
        check(f"kubernetes/{file} has no other", not unknown, f"{unknown}")


def render(folder):
    run = subprocess.run(["kubectl", "kustomize", str(HERE / folder)], capture_output=True, text=True)
    check(f"{folder} renders without a warning", run.returncode == 0 and not run.stderr, run.stderr)
    return [document for document in yaml.safe_load_all(run.stdout) if document]


def fits_the_schemas(folder, resource, ours):
    name = f"{folder}: {resource['kind']} {resource['metadata']['name']}"
    schema = ours.get(f"{resource['apiVersion']} {resource['kind']}")
    if schema:
        problems = [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(resource)]
        check(name, not problems, str(problems))
        return
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(resource, version, strict=True)
            check(f"{name} in {version}", True)
        except Exception as error:
            check(f"{name} in {version}", False, str(error))


def pods_are_as_promised(folder, resources):
    configs = {r["metadata"]["name"]: r.get("data", {}) for r in resources if r["kind"] == "ConfigMap"}
    services = [r for r in resources if r["kind"] == "Service"]
    told = (HERE / "README.md").read_text()
    for resource in resources:
        if resource["kind"] not in ("Deployment", "StatefulSet", "Job"):
            continue
        name = f"{folder}: {resource['metadata']['name']}"
        labels = resource["spec"]["template"]["metadata"]["labels"]
        pod = resource["spec"]["template"]["spec"]
        container = pod["containers"][0]
        of_pod, of_container = pod["securityContext"], container["securityContext"]
        check(
            f"{name} has the least rights",
            of_pod["runAsNonRoot"]
            and of_pod["seccompProfile"]["type"] == "RuntimeDefault"
            and of_container["capabilities"] == {"drop": ["ALL"]}
            and of_container["readOnlyRootFilesystem"]
            and not of_container["allowPrivilegeEscalation"]
            and pod["automountServiceAccountToken"] is False,
        )
        check(f"{name} is of one version", not container["image"].endswith(":latest") and ":" in container["image"])
        check(f"{name} asks for memory and has a limit", container["resources"]["limits"]["memory"])
        environment = {entry["name"]: entry.get("value", "") for entry in container.get("env", [])}
        for source in container.get("envFrom", []):
            config = source["configMapRef"]["name"]
            check(f"{name} has its {config}", config in configs)
            environment |= configs.get(config, {})
        secrets = [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        files = {key: value for key, value in environment.items() if key.endswith("_FILE")}
        check(f"{name} has secrets in files", all(v.startswith(FOLDER_OF_SECRETS + "/") for v in files.values()), f"{files}")
        for secret in secrets:
            check(f"{name}'s secret {secret} is told of", f"`{secret}`" in told)
        check(f"{name} sets nothing empty", all(environment.values()), f"{environment}")
        passwords = [v for v in environment.values() if re.search(r"://[^/]*:[^/]*@", v)]
        check(f"{name} has no password in its settings", not passwords)
        if resource["kind"] == "Job":
            continue
        drains = int(environment.get("DRAIN_SECONDS", 20))
        goes = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        check(f"{name} has time to drain", pod["terminationGracePeriodSeconds"] >= goes + drains + 5)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        for probe, path in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]:
            asked = container[probe]["httpGet"]
            check(f"{name} is asked for {path}", asked == {"path": path, "port": "admin"}, f"{asked}")
        check(f"{name} listens for operators", environment["ADMIN_LISTEN"].endswith(f":{ports['admin']}"))
        if "http" in ports:
            check(f"{name} listens for people", environment["LISTEN"].endswith(f":{ports['http']}"))
            served = [s for s in services if s["spec"]["selector"].items() <= labels.items()]
            check(f"{name} is behind a Service", any(s["spec"]["ports"][0]["targetPort"] == "http" for s in served))


def names_lead_somewhere(folder, resources):
    there = {(r["kind"], r["metadata"]["name"]) for r in resources}
    pods = [
        r["spec"]["template"]["metadata"]["labels"] for r in resources if r["kind"] in ("Deployment", "StatefulSet", "Job")
    ]
    for resource in resources:
        name = f"{folder}: {resource['kind']} {resource['metadata']['name']}"
        spec = resource.get("spec", {})
        target = spec.get("scaleTargetRef")
        if target:
            deployment = next((r for r in resources if r["metadata"]["name"] == target["name"] and r["kind"] == "Deployment"), None)
            check(f"{name} scales what is there", deployment)
            check(f"{name} alone says how many", deployment and "replicas" not in deployment["spec"])
        for trigger in spec.get("triggers", []):
            check(
                f"{name} may ask",
                ("TriggerAuthentication", trigger["authenticationRef"]["name"]) in there,
            )
        if resource["kind"] in ("PodDisruptionBudget", "NetworkPolicy"):
            wanted = (spec.get("selector") or spec["podSelector"])["matchLabels"]
            check(f"{name} is about pods that are there", any(wanted.items() <= labels.items() for labels in pods))


def main():
    settings_are_reachable("--write" in sys.argv)
    ours = json.loads((HERE / "custom-resources.json").read_text())
    with tempfile.TemporaryDirectory(dir=HERE / "overlays") as whole:
        components = sorted(f"../../components/{path.name}" for path in (HERE / "components").iterdir())
        kustomization = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["../production"]}
        told = (HERE / "overlays/production/kustomization.yaml").read_text()
        for component in components:
            check(f"the overlay names {component}", f"- {component}\n" in told)
        off = [component for component in components if f"#- {component}\n" in told]
        (Path(whole) / "kustomization.yaml").write_text(json.dumps(kustomization | {"components": off}))
        everything = f"overlays/{Path(whole).name}"
        rendered = {folder: render(folder) for folder in [*KUSTOMIZATIONS, everything]}
    rendered["overlays/production with all components"] = rendered.pop(everything)
    for folder, resources in rendered.items():
        check(f"{folder} has something in it", len(resources) > 3)
        for resource in resources:
            fits_the_schemas(folder, resource, ours)
        pods_are_as_promised(folder, resources)
        names_lead_somewhere(folder, resources)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"test result: {'FAILED' if failures else 'ok'}. {passed} passed; {len(failures)} failed; Kubernetes {VERSIONS}")
    sys.exit(bool(failures))


main()
