"""A stack on the emulated cloud, deployed as `docs/deploy.md` says: `sam deploy` in a folder with
`samconfig.toml` and what `sam build` made."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import boto3
from botocore.exceptions import ClientError
from cfnlint.decode.cfn_yaml import loads as load_cloudformation
from world import ENDPOINT, REGION, ROOT

TEMPLATES = {"rest": ROOT / "infra/template.yaml", "http": ROOT / "infra/http-api.yaml"}
BUILT = ROOT / "target/sam-build"
SAM = Path(sys.executable).with_name("sam")


class DeployFailed(Exception):
    """`sam deploy` did not succeed."""


def client(service: str):
    return boto3.client(service, endpoint_url=ENDPOINT, region_name=REGION)


def functions(template: dict) -> list[str]:
    """Logical ids of the template's functions."""
    return [
        name for name, resource in template["Resources"].items() if resource["Type"] == "AWS::Serverless::Function"
    ]


def set_toml(text: str, **values: str) -> str:
    """The text of a TOML file with other values for keys that stand alone on a line."""
    for name, value in values.items():
        text, count = re.subn(rf"(?m)^{name} = .*$", f"{name} = {value}", text)
        if count != 1:
            raise ValueError(f"{name} is there {count} times")
    return text


class Stack:
    """A folder that is deployed, and the stack that this makes.

    `template`, `parameters` and `configuration` are what an operator edits; `deploy` applies them. `adapt`
    changes a copy of the template for the emulator."""

    def __init__(self, kind: str, folder: Path, name: str, adapt, say):
        self.kind = kind
        self.folder = folder
        self.name = name
        self.adapt = adapt
        self.say = say
        self.template = load_cloudformation(TEMPLATES[kind].read_text())
        self.template = json.loads(json.dumps(self.template))
        self.parameters: dict[str, str] = {}
        self.configuration = ""
        self.bootstraps = {name: (BUILT / name / "bootstrap") for name in functions(self.template)}
        self.outputs: dict[str, str] = {}
        self.stack_id = ""
        self.threads = threading.local()
        self.shown = ""
        (folder / "layer").mkdir(parents=True, exist_ok=True)

    def bootstrap(self, function: str) -> bytes:
        """The program that `sam build` made."""
        place = self.bootstraps[function]
        if not place.exists():
            raise SystemExit(f"there is no bootstrap of {function}: `make sam-build` makes it")
        return place.read_bytes()

    def package(self) -> None:
        """Packs the functions. They are packed once and named by their content, because packing takes longer
        than all else; `sam deploy` uploads a file that it has not uploaded before."""
        for function, source in self.bootstraps.items():
            archive = self.folder / f"{function}.zip"
            if not source.exists():
                raise SystemExit(f"there is no bootstrap of {function}: `make sam-build` makes it")
            if archive.exists() and archive.stat().st_mtime >= source.stat().st_mtime:
                continue
            entry = zipfile.ZipInfo("bootstrap")
            entry.external_attr = 0o755 << 16
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
                file.writestr(entry, source.read_bytes())

    def written(self) -> dict:
        """The template as it is deployed."""
        template = self.adapt(json.loads(json.dumps(self.template)))
        for name, resource in template["Resources"].items():
            if resource["Type"] == "AWS::Serverless::Function":
                resource["Properties"]["CodeUri"] = f"{name}.zip"
            if resource["Type"] == "AWS::Serverless::LayerVersion":
                resource["Properties"]["ContentUri"] = "layer"
        return template

    def deploy(self) -> float:
        """`sam deploy`; answers how many seconds it took."""
        begun = time.monotonic()
        self.package()
        (self.folder / "layer/cloakroom.toml").write_text(self.configuration)
        (self.folder / "template.yaml").write_text(json.dumps(self.written()))
        overrides = [f"{name}={value}" for name, value in self.parameters.items()]
        (self.folder / "samconfig.toml").write_text(
            "version = 0.1\n[default.deploy.parameters]\n"
            f'stack_name = "{self.name}"\ntemplate_file = "template.yaml"\ns3_bucket = "deployments"\n'
            'capabilities = "CAPABILITY_IAM"\nconfirm_changeset = false\nfail_on_empty_changeset = false\n'
            f"parameter_overrides = {json.dumps(overrides)}\n"
        )
        done = subprocess.run(
            [SAM, "deploy"],
            cwd=self.folder,
            env=os.environ | {"SAM_CLI_TELEMETRY": "0", "SAM_CLI_POLL_DELAY": "0.2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            said = [line for line in (done.stdout + done.stderr).splitlines() if "Uploading" not in line and line.strip()]
            raise DeployFailed("\n".join([*said[-12:], *self.reasons()]))
        self.look()
        return time.monotonic() - begun

    def reasons(self) -> list[str]:
        """Why the last deploy failed, as the stack's events say it."""
        try:
            events = client("cloudformation").describe_stack_events(StackName=self.name)["StackEvents"]
        except ClientError:
            return []
        failed = [event for event in events if event["ResourceStatus"].endswith("_FAILED")]
        return [f"{one['LogicalResourceId']}: {one.get('ResourceStatusReason')}" for one in failed[:3]]

    def look(self) -> None:
        """Reads what the stack says about itself."""
        (described,) = client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        self.stack_id = described["StackId"]
        self.status = described["StackStatus"]
        self.outputs = {one["OutputKey"]: one["OutputValue"] for one in described.get("Outputs", [])}

    def delete(self) -> None:
        """`sam delete`."""
        subprocess.run(
            [SAM, "delete", "--no-prompts", "--stack-name", self.name, "--region", REGION],
            cwd=self.folder,
            env=os.environ | {"SAM_CLI_TELEMETRY": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=300,
            check=True,
        )

    def live(self, function: str) -> dict:
        """The configuration of the version that alias `live` of a function points to."""
        return client("lambda").get_function_configuration(
            FunctionName=f"{self.name}-{function.lower()}", Qualifier="live"
        )

    def resource(self, logical_id: str) -> str:
        """The physical id of a resource."""
        found = client("cloudformation").describe_stack_resource(StackName=self.name, LogicalResourceId=logical_id)
        return found["StackResourceDetail"]["PhysicalResourceId"]

    def has(self, logical_id: str) -> bool:
        """Whether the stack has this resource now."""
        pages = client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self.name)
        return any(one["LogicalResourceId"] == logical_id for page in pages for one in page["StackResourceSummaries"])

    def authorize(self, token: str, scheme: str = "Bearer") -> tuple[int, str]:
        """Asks alias `live` of the authorizer as the API does. `(200, JWT)`, or the status that a real API would
        answer: 401, 403, or 503 when the function fails."""
        asked = self.event(f"{scheme} {token}")
        said = self.lambdas().invoke(
            FunctionName=f"{self.name}-authorizer", Qualifier="live", Payload=json.dumps(asked)
        )
        found = json.load(said["Payload"])
        if "FunctionError" in said or not isinstance(found, dict):
            return 401 if isinstance(found, dict) and found.get("errorMessage") == "Unauthorized" else 503, ""
        context = found.get("context") or {}
        if self.kind == "http":
            return (200, context.get("jwt", "")) if found.get("isAuthorized") else (403, "")
        granted = context.get("authorization", "")
        return (200, granted.removeprefix("Bearer ")) if granted.startswith("Bearer ") else (403, "")

    def event(self, credential: str) -> dict:
        """What an API sends its authorizer for `GET /api/orders`: docs/authorizer.md."""
        if self.kind == "rest":
            headers = {"Authorization": credential}
            return {
                "type": "REQUEST",
                "methodArn": f"arn:aws:execute-api:{REGION}:000000000000:a1b2c3d4e5/live/GET/api/orders",
                "resource": "/api/orders",
                "path": "/api/orders",
                "httpMethod": "GET",
                "headers": headers,
                "multiValueHeaders": {name: [value] for name, value in headers.items()},
                "requestContext": {
                    "resourcePath": "/api/orders",
                    "httpMethod": "GET",
                    "path": "/api/orders",
                    "stage": "live",
                    "requestId": "by-tests-cloud",
                },
            }
        headers = {"x-cloakroom-token": credential, "x-origin-verify": self.origin_secret()}
        return {
            "version": "2.0",
            "type": "REQUEST",
            "routeArn": f"arn:aws:execute-api:{REGION}:000000000000:a1b2c3d4e5/$default/GET/api/orders",
            "routeKey": "GET /api/orders",
            "rawPath": "/api/orders",
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "http": {"method": "GET", "path": "/api/orders", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
                "routeKey": "GET /api/orders",
                "stage": "$default",
                "requestId": "by-tests-cloud",
            },
        }

    def lambdas(self):
        """A client of this thread's own."""
        if not hasattr(self.threads, "lambdas"):
            self.threads.lambdas = client("lambda")
        return self.threads.lambdas

    def origin_secret(self) -> str:
        """What CloudFront shows the API."""
        if not self.shown:
            self.shown = client("secretsmanager").get_secret_value(SecretId=self.resource("OriginSecret"))["SecretString"]
        return self.shown
