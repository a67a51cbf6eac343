"""Prints how large each packaged function is, and fails beyond its budget: what is loaded is waited
for at every cold start.

    python sizes.py DIRECTORY…     (target/lambda, target/lambda-arm64)
"""

import io
import sys
import zipfile
from pathlib import Path

MIB = 1024 * 1024
# Of the zip that Lambda loads.
BUDGETS = {"authorizer": 4 * MIB, "jwks": 7 * MIB, "login": 7 * MIB, "token": 7 * MIB}


def zipped(bootstrap: Path) -> int:
    """The size of the zip that `sam deploy` would upload."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        packed.write(bootstrap, "bootstrap")
    return len(archive.getvalue())


def measure(directory: Path, budgets: dict[str, int]) -> tuple[list[str], bool]:
    """A line per function, and whether all are within their budgets."""
    lines, good = [], True
    for name, budget in budgets.items():
        bootstrap = directory / name / "bootstrap"
        if not bootstrap.is_file():
            lines.append(f"{bootstrap}: not there")
            good = False
            continue
        size = zipped(bootstrap)
        fits = size <= budget
        good &= fits
        verdict = "ok" if fits else "TOO LARGE"
        lines.append(f"{bootstrap}: {size / MIB:.2f} MiB zipped, of {budget / MIB:.0f}: {verdict}")
    return lines, good


def main(directories: list[str]) -> int:
    all_good = bool(directories)
    for directory in directories:
        lines, good = measure(Path(directory), BUDGETS)
        print("\n".join(lines))
        all_good &= good
    return 0 if all_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
