#!/usr/bin/env python3
"""The life of a stack, from the first deploy to its successor, on an emulated cloud.

Starts one life for each template, each in a network namespace of its own, side by side; prints what was
observed as a table; ends with 1 if anything was not as it must be. `make test-cloud` runs it.

    run.py --emulator target/tools/emulator/bin/python
    run.py --emulator … --template rest --steps not-before,signing-keys
    run.py --emulator … --without release     # must fail: shows that the run would notice
"""

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
COLUMNS = ("template", "step", "how", "what", "calls", "wrong", "refused", "stalled", "seconds")


def unshare() -> list[str]:
    """The command that starts another in namespaces of its own. Without one there is no test."""
    own = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    for flags in ([], ["--map-root-user"]):
        if os.geteuid() == 0 or flags:
            try:
                if not subprocess.run([*own, *flags, "true"], stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode:
                    return [*own, *flags]
            except OSError as error:
                raise SystemExit(f"tests/cloud: {error}: install util-linux") from error
    raise SystemExit(
        "tests/cloud: neither `unshare -mn` as root nor `unshare -rmn` works here: the emulated cloud needs a "
        "network namespace of its own. Allow user namespaces, or run as root."
    )


def die_with_parent() -> None:
    """The child ends when this program does, however that ends."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Life:
    """One template's life, in its namespaces."""

    def __init__(self, kind: str, folder: Path, options, command: list[str]):
        self.kind = kind
        self.folder = folder / kind
        self.folder.mkdir()
        self.result = self.folder / "result.json"
        arguments = ["--template", kind, "--folder", self.folder, "--emulator", options.emulator.absolute()]
        for name in ("steps", "without"):
            if value := getattr(options, name):
                arguments += [f"--{name}", value]
        self.process = subprocess.Popen(
            [*command, sys.executable, "-u", HERE / "life.py", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=die_with_parent,
        )
        self.reader = threading.Thread(target=self.show, daemon=True)
        self.reader.start()

    def show(self) -> None:
        for line in self.process.stdout:
            # Whoever read this may have gone; the life must not stop for that.
            with contextlib.suppress(OSError):
                print(f"{self.kind:4} | {line}", end="", flush=True)

    def wait(self) -> dict:
        code = self.process.wait()
        self.reader.join(5)
        found = json.loads(self.result.read_text()) if self.result.exists() else {"rows": [], "failures": []}
        if code and not found["failures"]:
            found["failures"] = [f"the life ended with {code}"]
        return found


def table(rows: list[dict]) -> str:
    """Rows as text, in columns."""
    cells = [list(COLUMNS)] + [[str(row.get(column, "")) for column in COLUMNS] for row in rows]
    widths = [max(len(line[number]) for line in cells) for number in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--emulator", type=Path, required=True, help="the Python that has the emulator")
    parser.add_argument("--template", choices=["rest", "http"], help="only this one")
    parser.add_argument("--steps", default="", help="only these, comma-separated, and what they need")
    parser.add_argument(
        "--without",
        choices=["release", "layer", "redeploy"],
        help="takes away the release number, the layer's PublishLambdaVersion or the API's AlwaysDeploy",
    )
    options = parser.parse_args()
    command = unshare()
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    lives: list[Life] = []
    with tempfile.TemporaryDirectory(prefix="cloakroom-cloud-") as folder:
        try:
            for kind in [options.template] if options.template else ["rest", "http"]:
                lives.append(Life(kind, Path(folder), options, command))
            results = [life.wait() for life in lives]
        finally:
            for life in lives:
                if life.process.poll() is None:
                    life.process.kill()
                    life.process.wait()
    rows = [row for result in results for row in result["rows"]]
    print("\n" + table(rows))
    for result in results:
        for name, reason in result.get("adaptations", {}).items():
            print(f"adapted ({result['template']}): {name}: {reason}")
    failures = [f"{life.kind}: {failure}" for life, result in zip(lives, results) for failure in result["failures"]]
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{'FAILED' if failures else 'passed'} after {time.monotonic() - begun:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
