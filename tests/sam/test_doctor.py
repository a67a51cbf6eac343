"""`cloakroom doctor --stack` on moto: functions, alias, stack, alarms and metrics that nobody here answers for."""

import io
import json
import os
import subprocess
import tempfile
import unittest
import urllib.request
import zipfile
from pathlib import Path

import boto3
from moto.core.common_models import CloudFormationModel
from moto.server import ThreadedMotoServer

import template as sam

BINARY = Path(os.environ.get("CARGO_TARGET_DIR", sam.ROOT / "target")) / "debug/cloakroom"
CREDENTIALS = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": sam.REGION}
FUNCTIONS = ("authorizer", "login", "token", "jwks")


class Alarm(CloudFormationModel):
    """moto's CloudFormation makes no alarms: here it lists one, which is made in CloudWatch beside it."""

    # moto takes the service from the name of the module.
    __module__ = "moto.cloudwatch.models"
    type = "AWS::CloudWatch::Alarm"
    physical_resource_id = "s-synthetic"

    @staticmethod
    def cloudformation_name_type() -> str:
        return "AlarmName"

    @classmethod
    def cloudformation_type(cls) -> str:
        return cls.type

    @classmethod
    def create_from_cloudformation_json(cls, *_arguments, **_named) -> "Alarm":
        return cls()


def code(text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("bootstrap", text)
    return archive.getvalue()


class Doctor(unittest.TestCase):
    def setUp(self):
        self.server = ThreadedMotoServer(port=0, verbose=False)
        self.server.start()
        self.addCleanup(self.server.stop)
        host, port = self.server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        # What moto holds is the process's, not the server's.
        urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}/moto-api/reset", method="POST")).close()
        self.lambda_ = self.client("lambda")
        role = self.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        for name in FUNCTIONS:
            self.lambda_.create_function(
                FunctionName=f"s-{name}",
                Runtime="provided.al2023",
                Handler="bootstrap",
                Role=role,
                Description="Release 1. What it does",
                Code={"ZipFile": code("one")},
                Environment={"Variables": {"CLOAKROOM_LOG": "info", "CLOAKROOM_ISSUER": "https://a.example"}},
            )
            version = self.lambda_.publish_version(FunctionName=f"s-{name}", Description="Release 1")["Version"]
            self.lambda_.create_alias(FunctionName=f"s-{name}", Name="live", FunctionVersion=version)
        self.metrics = self.client("cloudwatch")
        self.metrics.put_metric_alarm(
            AlarmName="s-synthetic",
            Namespace="Cloakroom",
            MetricName="SyntheticSuccess",
            Dimensions=[{"Name": "stack", "Value": "s"}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
        )
        document = {
            "Parameters": {"LogLevel": {"Type": "String"}},
            "Resources": {"SyntheticAlarm": {"Type": Alarm.type, "Properties": {"AlarmName": "s-synthetic"}}},
        }
        self.client("cloudformation").create_stack(
            StackName="s",
            TemplateBody=json.dumps(document),
            Parameters=[{"ParameterKey": "LogLevel", "ParameterValue": "info"}],
        )

    def client(self, service: str):
        return boto3.client(service, endpoint_url=self.endpoint, **CREDENTIALS)

    def count(self, name: str, namespace: str = "Cloakroom", stack: str = "s"):
        metric = {"MetricName": name, "Dimensions": [{"Name": "stack", "Value": stack}], "Value": 1}
        self.metrics.put_metric_data(Namespace=namespace, MetricData=[metric])

    def said(self) -> dict[str, list[tuple[bool, str]]]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": tempfile.gettempdir(),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": sam.REGION,
            "CLOAKROOM_CONFIG": str(sam.CONFIG),
        }
        done = subprocess.run(
            [BINARY, "doctor", "--stack", "s", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        found = {}
        for check in json.loads(done.stdout)["checks"]:
            found.setdefault(check["check"], []).append((check["ok"], check["detail"]))
        return found

    def test_a_stack_that_runs_what_was_asked_for_and_one_thing_after_the_other(self):
        self.count("SyntheticSuccess")
        said = self.said()
        for name in ("what runs", "release", "stack", "parameters", "alarms"):
            self.assertTrue(said[name][0][0], f"{name}: {said[name]}")

        # A deploy that changes the function, and publishes nothing.
        self.lambda_.update_function_configuration(
            FunctionName="s-token", Environment={"Variables": {"CLOAKROOM_LOG": "warn", "CLOAKROOM_ISSUER": "https://a.example"}}
        )
        ((ok, detail),) = self.said()["what runs"]
        self.assertFalse(ok)
        self.assertIn("token: version 1 runs, and does not have what was asked for: CLOAKROOM_LOG;", detail)

        # The function is published, the alias is not moved.
        self.lambda_.update_function_configuration(FunctionName="s-token", Description="Release 2. What it does")
        ((ok, detail),) = self.said()["release"]
        self.assertFalse(ok)
        self.assertIn("2 in token ($LATEST)", detail)

        # The alias moves: now it is one of four that is another.
        version = self.lambda_.publish_version(FunctionName="s-token", Description="Release 2")["Version"]
        self.lambda_.update_alias(FunctionName="s-token", Name="live", FunctionVersion=version)
        said = self.said()
        self.assertTrue(said["what runs"][0][0], said["what runs"])
        self.assertIn("2 in token ($LATEST), token (live)", said["release"][0][1])
        self.assertIn("token: version 2 does not run with the stack's LogLevel", said["parameters"][0][1])

    def test_an_alarm_whose_metric_nobody_writes(self):
        self.count("Decisions")
        self.count("SyntheticSuccess", stack="another")
        ((ok, detail),) = self.said()["alarms"]
        self.assertFalse(ok)
        self.assertIn("SyntheticSuccess of s: an alarm watches it, and no function writes it", detail)
        self.count("SyntheticSuccess")
        ((ok, _),) = self.said()["alarms"]
        self.assertTrue(ok)

    def test_an_alarm_that_somebody_has_deleted(self):
        self.metrics.delete_alarms(AlarmNames=["s-synthetic"])
        ((ok, detail),) = self.said()["alarms"]
        self.assertFalse(ok)
        self.assertIn("no longer there: s-synthetic", detail)


if __name__ == "__main__":
    unittest.main()
