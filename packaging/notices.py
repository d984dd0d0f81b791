"""What the page bundles of others', with their licences: writes NOTICES, which the image and the package ship; with --check it fails
if what is there is not what web/package-lock.json and the installed packages make. Needs `npm ci --ignore-scripts` in web/."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WEB = ROOT / "web"
# Its style sheet begins with some of Tailwind's, which is otherwise a tool.
BUNDLED_TOOLS = ["tailwindcss"]


def notices():
    """The text of NOTICES."""
    locked = json.loads((WEB / "package-lock.json").read_text())["packages"]
    names = sorted([*json.loads((WEB / "package.json").read_text())["dependencies"], *BUNDLED_TOOLS])
    parts = ["The page of Chinwag (ws-edge/web/, and the programs that serve it) has in it parts of what follows.\n"]
    for name in names:
        package = WEB / "node_modules" / name
        entry = locked[f"node_modules/{name}"]
        installed = json.loads((package / "package.json").read_text())["version"]
        if installed != entry["version"]:
            sys.exit(f"{name} {installed} is installed, and {entry['version']} is locked: npm ci --ignore-scripts in web/")
        text = (package / "LICENSE").read_text().strip()
        parts.append(f"{'-' * 100}\n{name} {installed} ({entry['license']})\n\n{text}\n")
    return "\n".join(parts)


def main():
    path, text = ROOT / "NOTICES", notices()
    if "--check" not in sys.argv:
        path.write_text(text)
    elif not path.exists() or path.read_text() != text:
        sys.exit("NOTICES is not what web/ bundles: python3 packaging/notices.py")


main()
