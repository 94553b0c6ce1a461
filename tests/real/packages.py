"""Tools of Debian's packages. Installs what is missing, and nothing else."""

import os
import shutil
import subprocess
import sys


def install(packages: dict[str, str]) -> None:
    """Packages by the tool that is looked for."""
    missing = [package for tool, package in packages.items() if shutil.which(tool) is None]
    if not missing:
        return
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        sys.exit(f"install {' and '.join(missing)} first: that takes root and apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "install", "-y", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", *missing]
    for attempt in (command, ["apt-get", "update"], command):
        ended = subprocess.run(attempt, env=environment, capture_output=True, text=True, check=False)
        if attempt is command and ended.returncode == 0:
            return
    sys.exit(f"{' '.join(command)} failed: {ended.stderr}")
