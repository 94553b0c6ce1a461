#!/usr/bin/env python3
"""Makes a virtual environment under target/ from a pinned, hashed requirements file, and prints its python.

    virtual_environment.py HOME REQUIREMENTS

HOME is where it goes, under target/. What is there already and was made from the same file by the same python stays.
Nothing is installed elsewhere.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", Path(__file__).parents[2] / "target")).resolve()
OLDEST_PYTHON = (3, 11)


def made(home: Path, requirements: Path) -> Path:
    """The python of the virtual environment at `home`, made first, or again if the requirements changed."""
    if sys.version_info < OLDEST_PYTHON:
        sys.exit(f"python3 is {sys.version.split()[0]}, but what is pinned needs 3.11 or later")
    home.mkdir(parents=True, exist_ok=True)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    wanted = hashlib.sha256(requirements.read_bytes() + version.encode()).hexdigest()
    mark = home / "made-from"
    python = home / "bin" / "python"
    with open(home.with_suffix(".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two tests at once: the second waits
        if not mark.exists() or mark.read_text(encoding="ascii") != wanted:
            mark.unlink(missing_ok=True)
            try:
                venv.create(home, clear=True, with_pip=True)
            except subprocess.CalledProcessError:
                sys.exit("this python3 has no ensurepip; on Debian: apt-get install python3-venv")
            pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            if subprocess.run([*pip, "--require-hashes", "--requirement", requirements], check=False).returncode:
                sys.exit(f"pip could not install {requirements.name}; the package registry must be reachable once")
            mark.write_text(wanted, encoding="ascii")
    return python


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(made(TARGET / sys.argv[1], Path(sys.argv[2])))


if __name__ == "__main__":
    main()
