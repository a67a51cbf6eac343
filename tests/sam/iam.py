"""Holds each function's rights in the template to what it calls, both ways.

    python iam.py CALLS

CALLS is what the whole test suite has recorded (crates/local/src/recording.rs): a line per call that
a function made. Nothing may be missing in the template, and nothing in it may be unused, conditions
included. What a function may do stands in its role and in the policies of the keys.
"""

import fnmatch
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import checks
import template as sam

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")

# Stacks whose rights are put together: a team chooses one of them. A data-key stack is deployed twice.
CHOICES = (
    *({"JwtAlgorithmA": algorithm} for algorithm in ALGORITHMS),
    *({"ClientKeyAlgorithm": algorithm} for algorithm in ALGORITHMS),
    {"SigningMode": "data-key"},
    {"SigningMode": "data-key", "KeysetPublicKey": "MFkw"},
)

# What the recorder calls an issuer.
ISSUER = "PublicUrl"

# Lambda's own calls with the function's role: no function makes them.
PLATFORM = {"logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTelemetryRecords", "xray:PutTraceSegments"}

@dataclass(frozen=True)
class Right:
    """One function, one action, one thing: the finest part of a statement."""

    function: str
    action: str
    # A pattern of DynamoDB's leading keys, the name of a key, the path of secrets.
    on: str
    conditions: frozenset[tuple[str, str]] = field(default=frozenset())

    def __str__(self) -> str:
        told = " ".join([self.function, self.action, self.on])
        return told + "".join(f" {name}={value}" for name, value in sorted(self.conditions))

    def covers(self, call: dict) -> bool:
        if (call["function"], call["action"]) != (self.function, self.action):
            return False
        if not fnmatch.fnmatchcase(call.get("on", ""), self.on):
            return False
        made_with = call.get("with", {})
        return all(made_with.get(name) == value for name, value in self.conditions)


def kind_of_key(logical_id: str) -> str:
    """Which keys are of one kind: two slots, one name."""
    return logical_id.rstrip("AB") if logical_id.startswith(("SigningKey", "MacKey")) else logical_id


def rights(resources: dict) -> set[Right]:
    """What each function may do in a stack."""
    found = set()
    for function in sam.FUNCTIONS:
        role = resources[f"{function}Role"]["Properties"]
        if role.get("ManagedPolicyArns"):
            raise ValueError(f"{function}'s role has policies that nobody here can read")
        for policy in role["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
                found |= of_role(function.lower(), statement)
    arns = {f"<{function}Role.Arn>": function.lower() for function in sam.FUNCTIONS}
    for name, key in sam.of_type(resources, "AWS::KMS::Key").items():
        for statement in key["KeyPolicy"]["Statement"]:
            for principal in checks.principals(statement):
                if principal in arns:
                    found |= of_key(arns[principal], kind_of_key(name), statement)
    return found


def of_role(function: str, statement: dict) -> set[Right]:
    if statement["Effect"] != "Allow":
        raise ValueError(f"{function}: only what is allowed is understood")
    actions = checks.as_list(statement["Action"])
    places = checks.as_list(statement["Resource"])
    condition = statement.get("Condition", {})
    keys = condition.get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")
    known = {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": keys}} if keys else {}
    if condition != known:
        raise ValueError(f"{function}: the condition {condition} is not understood")
    found = set()
    for action in actions:
        service = action.split(":", 1)[0]
        if service == "dynamodb":
            if places != ["<Table.Arn>"] or not keys:
                raise ValueError(f"{function}: {action} on {places}")
            found |= {Right(function, action, pattern) for pattern in keys}
        elif service == "ssm":
            found |= {Right(function, action, place.split(":parameter", 1)[1]) for place in places}
        elif service == "secretsmanager":
            found |= {Right(function, action, place.split(":secret:", 1)[1]) for place in places}
        else:
            found |= {Right(function, action, place) for place in places}
    return found


def of_key(function: str, key: str, statement: dict) -> set[Right]:
    condition = statement.get("Condition", {})
    if set(condition) - {"StringEquals"}:
        raise ValueError(f"{function}: the condition {condition} is not understood")
    issuer = sam.parameters(sam.load("rest"))["PublicUrl"]
    conditions = frozenset(
        (name, ISSUER if value == issuer else value) for name, value in condition.get("StringEquals", {}).items()
    )
    return {Right(function, action, key, conditions) for action in checks.as_list(statement["Action"])}


def granted(kind: str = "rest") -> set[Right]:
    """Every right that a stack may have."""
    document = sam.transformed(kind)
    base = {"Edge": "none"} if kind == "http" else {}
    return set().union(*(rights(sam.resolve(document, base | choice)) for choice in CHOICES))


def compare(every: set[Right], calls: list[dict]) -> list[str]:
    """Calls that no right covers, and rights that no call uses."""
    names = {function.lower() for function in sam.FUNCTIONS}
    ours = [call for call in calls if call["function"] in names]
    silent = names - {call["function"] for call in ours}
    wrong = [f"{function}: no call was recorded" for function in silent]
    for call in ours:
        if not any(right.covers(call) for right in every):
            wrong.append(f"not granted: {json.dumps(call)}")
    for right in every:
        if right.action not in PLATFORM and not any(right.covers(call) for call in ours):
            wrong.append(f"never used: {right}")
    return sorted(wrong)


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def main() -> int:
    calls = read(Path(sys.argv[1]))
    wrong = []
    for kind in sam.TEMPLATES:
        wrong += [f"{sam.TEMPLATES[kind].name}: {one}" for one in compare(granted(kind), calls)]
    for one in wrong:
        print(one)
    if not wrong:
        print(f"{len(calls)} kinds of calls, and the rights of both templates agree")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
