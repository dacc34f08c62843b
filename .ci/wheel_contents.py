"""Compares a wheel with the repository: every source file of the package is in it, and nothing else is."""

import subprocess
import sys
import zipfile

FOLDERS = {"agentgym/": "agentgym/", "algos/": "agentgym/algos/", "wrappers/": "agentgym/wrappers/"}

tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
links = {"agentgym/algos", "agentgym/wrappers"}
expected = {
    path.replace(folder, where, 1)
    for path in tracked
    for folder, where in FOLDERS.items()
    if path.startswith(folder) and path not in links
}
with zipfile.ZipFile(sys.argv[1]) as wheel:
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
if missing := sorted(expected - found):
    sys.exit(f"not in the wheel: {missing}")
if foreign := sorted(found - expected):
    sys.exit(f"in the wheel, but not in the repository's package folders: {foreign}")
print(f"the wheel holds the package's {len(found)} files and nothing else")
