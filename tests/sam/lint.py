"""Runs checkov on the templates, and compares what it finds with infra/accepted-findings.yaml.

`python lint.py CHECKOV`, where CHECKOV is the program, in an environment of its own: it pins other versions of
what we use. Exit code 1 for a finding that nobody has accepted, and for an accepted one that no longer occurs.
"""

import json
import subprocess
import sys

import yaml

import template as sam

ACCEPTED = sam.ROOT / "infra/accepted-findings.yaml"
FILES = ("template.yaml", "http-api.yaml", "regional.yaml", "regional-http-api.yaml", "edge-logs.yaml")


def found(checkov: str) -> dict[str, set[str]]:
    """Resources by check."""
    files = [str(sam.ROOT / "infra" / name) for name in FILES]
    command = [checkov, "--framework", "cloudformation", "--compact", "--quiet", "--output", "json", "--file", *files]
    # Its exit code says that there are findings.
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    report = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise SystemExit(f"checkov cannot read the templates: {report['summary']}")
    findings: dict[str, set[str]] = {}
    for one in report["results"]["failed_checks"]:
        name = f"{one['check_id']} ({one['check_name']})"
        findings.setdefault(name, set()).add(f"{one['file_path'].lstrip('/')}: {one['resource'].split('.')[-1]}")
    return findings


def compare(findings: dict[str, set[str]], accepted: dict[str, dict]) -> list[str]:
    """What is not accepted, what is accepted for nothing, and what is accepted without a reason."""
    occurs = {name.split(" ")[0] for name in findings}
    wrong = [
        f"{name}: {', '.join(sorted(places))}"
        for name, places in sorted(findings.items())
        if name.split(" ")[0] not in accepted
    ]
    wrong += [f"{check} is accepted and does not occur" for check in sorted(set(accepted) - occurs)]
    wrong += [f"{check} is accepted without a reason" for check, one in accepted.items() if not one.get("why")]
    return wrong


if __name__ == "__main__":
    faults = compare(found(sys.argv[1]), yaml.safe_load(ACCEPTED.read_text()))
    sys.exit("\n".join(faults) or 0)
