"""Checks that every crate the engine links and every package Mainstay requires has a permissive licence.

Prints what is not allowed and exits 1 if there is anything.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from email.message import Message
from importlib import metadata
from typing import cast

ALLOWED = {
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "PSF-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

NAMES = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}


def is_allowed(expression: str) -> bool:
    """True if an SPDX expression can be met with allowed licences: one of its OR-branches has only allowed parts."""
    branches = re.split(r"\s+OR\s+|/", expression.replace("(", "").replace(")", ""))
    return any(
        all(part.split(" WITH ")[0].strip() in ALLOWED for part in re.split(r"\s+AND\s+", branch))
        for branch in branches
    )


def crates() -> list[tuple[str, str]]:
    output = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--all-features"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [(package["name"], package["license"] or "none") for package in json.loads(output)["packages"]]


def licence_of(distribution: metadata.Distribution) -> str:
    fields = cast(Message, distribution.metadata)
    if fields.get("License-Expression"):
        return str(fields["License-Expression"])
    for classifier in fields.get_all("Classifier") or []:
        if classifier.startswith("License ::"):
            name = classifier.rsplit(" :: ", 1)[-1]
            return NAMES.get(name, name)
    text = str(fields.get("License") or "none").splitlines()[0]
    return NAMES.get(text, text)


def packages() -> list[tuple[str, str]]:
    """What an installation of Mainstay brings along, transitively."""
    seen: dict[str, str] = {}
    queue = ["mainstay"]
    while queue:
        name = queue.pop()
        if name.lower() in seen:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        seen[name.lower()] = licence_of(distribution)
        for requirement in distribution.requires or []:
            if "extra ==" not in requirement:
                queue.append(re.split(r"[\s;<>=!~\[]", requirement, maxsplit=1)[0])
    return sorted(seen.items())


if __name__ == "__main__":
    refused = [f"{name}: {licence}" for name, licence in [*crates(), *packages()] if not is_allowed(licence)]
    print(
        "\n".join(f"licence not allowed: {line}" for line in refused)
        if refused
        else "licences: all permissive"
    )
    sys.exit(bool(refused))
