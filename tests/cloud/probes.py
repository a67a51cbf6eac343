"""Whether the emulator still lacks what `adaptations.py` works around: asked of the emulator itself, by small
stacks and functions that are gone afterwards."""

import http.client
import io
import json
import time
import uuid
import zipfile

from botocore.exceptions import ClientError
from openapi import ANY, AUTHORIZER, INTEGRATION
from stack import client


class Probe:
    """A small stack that shows a gap, and is gone afterwards."""

    def __init__(self, resources: dict, name: str = "probe", **more):
        self.name = f"{name}-{uuid.uuid4().hex[:8]}"
        self.template = {"AWSTemplateFormatVersion": "2010-09-09", "Resources": resources, **more}
        self.cloudformation = client("cloudformation")

    def __enter__(self):
        self.cloudformation.create_stack(StackName=self.name, TemplateBody=json.dumps(self.template))
        try:
            self.wait("CREATE_COMPLETE")
        except RuntimeError:
            self.__exit__()
            raise
        return self

    def update(self, resources: dict) -> None:
        self.template["Resources"] = resources
        self.cloudformation.update_stack(StackName=self.name, TemplateBody=json.dumps(self.template))
        self.wait("UPDATE_COMPLETE")

    def wait(self, status: str) -> None:
        for _ in range(200):
            (stack,) = self.cloudformation.describe_stacks(StackName=self.name)["Stacks"]
            if stack["StackStatus"] == status:
                return
            if not stack["StackStatus"].endswith("_IN_PROGRESS"):
                raise RuntimeError(f"{self.name} is {stack['StackStatus']}: {stack.get('StackStatusReason')}")
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not become {status}")

    def id(self, name: str) -> str:
        found = self.cloudformation.describe_stack_resource(StackName=self.name, LogicalResourceId=name)
        return found["StackResourceDetail"]["PhysicalResourceId"]

    def __exit__(self, *_):
        self.cloudformation.delete_stack(StackName=self.name)


def refuses(kind: str, properties: dict) -> bool:
    """Whether the emulator does not know this type of resource."""
    try:
        with Probe({"It": {"Type": kind, "Properties": properties}}):
            return False
    except ClientError as error:
        return "Unrecognized resource types" in str(error)


def lacks_web_acl_association() -> bool:
    return refuses("AWS::WAFv2::WebACLAssociation", {"ResourceArn": "arn:aws:x", "WebACLArn": "arn:aws:x"})


def lacks_metric_math() -> bool:
    metrics = [{"Id": "e", "Expression": "1 + 1", "ReturnData": True}]
    alarm = {"Metrics": metrics, "ComparisonOperator": "GreaterThanThreshold", "Threshold": 1, "EvaluationPeriods": 1}
    try:
        with Probe({"It": {"Type": "AWS::CloudWatch::Alarm", "Properties": alarm}}):
            return False
    except RuntimeError as error:
        if "ROLLBACK" not in str(error):
            raise
        return True


def lacks_code_deploy() -> bool:
    return refuses("AWS::CodeDeploy::Application", {"ComputePlatform": "Lambda"})


MOCK = {"type": "mock", "httpMethod": "GET", "uri": "", "requestTemplates": {"application/json": '{"statusCode": 200}'}}


def rest(paths: dict, **more) -> dict:
    """An API with this document."""
    body = {"openapi": "3.0.1", "info": {"title": "probe", "version": "1"}, "paths": paths, **more}
    return {"Api": {"Type": "AWS::ApiGateway::RestApi", "Properties": {"Name": "probe", "Body": body}}}


def lacks_any_method() -> bool:
    with Probe(rest({"/x": {ANY: {INTEGRATION: MOCK}}})) as probe:
        found = client("apigateway").get_resources(restApiId=probe.id("Api"), embed=["methods"])["items"]
        return not any(one.get("resourceMethods") for one in found)


def lacks_context_identity() -> bool:
    """A request that has the header, to an authorizer that asks for the header and the method: refused before the
    authorizer, which is not there, is asked."""
    uri = "arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:none/invocations"
    scheme = {
        "type": "apiKey",
        "name": "Authorization",
        "in": "header",
        "x-amazon-apigateway-authtype": "custom",
        AUTHORIZER: {
            "type": "request",
            "authorizerUri": uri,
            "identitySource": "method.request.header.Authorization, context.httpMethod",
            "authorizerResultTtlInSeconds": 30,
        },
    }
    resources = rest(
        {"/x": {"get": {"security": [{"it": []}], INTEGRATION: MOCK}}}, components={"securitySchemes": {"it": scheme}}
    )
    resources["Deployment"] = {
        "Type": "AWS::ApiGateway::Deployment",
        "Properties": {"RestApiId": {"Ref": "Api"}, "StageName": "probe"},
    }
    with Probe(resources) as probe:
        return direct(f"/restapis/{probe.id('Api')}/probe/_user_request_/x", {"Authorization": "x"}) == 401


def direct(path: str, headers: dict) -> int:
    """The status of a request to the emulator itself."""
    connection = http.client.HTTPConnection("127.0.0.1", 4566, timeout=20)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def lacks_http_api_body() -> bool:
    body = {
        "openapi": "3.0.1",
        "info": {"title": "probe", "version": "1"},
        "paths": {"/x": {"get": {INTEGRATION: {"type": "http_proxy", "httpMethod": "GET", "uri": "https://services.test", "payloadFormatVersion": "1.0"}}}},
    }
    with Probe({"Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Body": body}}}) as probe:
        return not client("apigatewayv2").get_routes(ApiId=probe.id("Api"))["Items"]


RUNTIME = """#!/usr/bin/env python3
import json, os, urllib.request
base = "http://%s/2018-06-01/runtime/invocation/" % os.environ["AWS_LAMBDA_RUNTIME_API"]
while True:
    event = urllib.request.urlopen(base + "next")
    kind, said = <answer>
    data = json.dumps(said).encode()
    urllib.request.urlopen(base + event.headers["Lambda-Runtime-Aws-Request-Id"] + "/" + kind, data).read()
"""


class Function:
    """A function with a custom runtime, in Python, that gives one answer."""

    def __init__(self, answer: str, **more):
        self.lambdas, self.name = client("lambda"), f"probe-{uuid.uuid4().hex[:8]}"
        self.more = more
        self.code = archive(bootstrap=RUNTIME.replace("<answer>", answer))

    def __enter__(self):
        made = self.lambdas.create_function(
            FunctionName=self.name,
            Runtime="provided.al2023",
            Handler="bootstrap",
            Role="arn:aws:iam::000000000000:role/probe",
            Code={"ZipFile": self.code},
            **self.more,
        )
        self.arn = made["FunctionArn"]
        return self

    def __exit__(self, *_):
        self.lambdas.delete_function(FunctionName=self.name)


def archive(**files: str) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o755 << 16
            file.writestr(entry, text)
    return data.getvalue()


def lacks_layers() -> bool:
    layer = client("lambda").publish_layer_version(
        LayerName=f"probe-{uuid.uuid4().hex[:8]}", Content={"ZipFile": archive(**{"probe-of-a-layer": ""})}
    )
    with Function(
        '"response", os.path.exists("/opt/probe-of-a-layer")',
        Layers=[layer["LayerVersionArn"]],
        Environment={"Variables": {"UNADAPTED": "1"}},
    ) as function:
        said = json.load(function.lambdas.invoke(FunctionName=function.name)["Payload"])
        if not isinstance(said, bool):
            raise RuntimeError(f"the probe of layers failed: {said}")
        return not said


def lacks_thrown_unauthorized() -> bool:
    """An authorizer that fails as ours does when it refuses a token."""
    with Function('"error", {"errorMessage": "Unauthorized", "errorType": "Error"}') as function:
        api = {"Ref": "Api"}
        uri = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{function.arn}/invocations"
        resources = {
            "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Name": "probe", "ProtocolType": "HTTP"}},
            "Stage": {
                "Type": "AWS::ApiGatewayV2::Stage",
                "Properties": {"ApiId": api, "StageName": "$default", "AutoDeploy": True},
            },
            "Authorizer": {
                "Type": "AWS::ApiGatewayV2::Authorizer",
                "Properties": {
                    "ApiId": api,
                    "Name": "probe",
                    "AuthorizerType": "REQUEST",
                    "AuthorizerUri": uri,
                    "AuthorizerPayloadFormatVersion": "2.0",
                    "EnableSimpleResponses": True,
                    "IdentitySource": [],
                },
            },
            "Integration": {
                "Type": "AWS::ApiGatewayV2::Integration",
                "Properties": {"ApiId": api, "IntegrationType": "HTTP_PROXY", "IntegrationUri": "https://services.test"},
            },
            "Route": {
                "Type": "AWS::ApiGatewayV2::Route",
                "Properties": {
                    "ApiId": api,
                    "RouteKey": "GET /x",
                    "AuthorizationType": "CUSTOM",
                    "AuthorizerId": {"Ref": "Authorizer"},
                    "Target": {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]},
                },
            },
        }
        with Probe(resources) as probe:
            return direct(f"/_aws/execute-api/{probe.id('Api')}/$default/x", {}) != 401


def lacks_functions_in_conditions() -> bool:
    second = {"Fn::Select": [1, {"Fn::Split": [",", {"Fn::Join": [",", [{"Ref": "List"}, ""]]}]}]}
    try:
        with Probe(
            {"It": {"Type": "AWS::SNS::Topic", "Properties": {}}},
            Metadata={"Unadapted": True},
            Parameters={"List": {"Type": "String", "Default": "one"}},
            Conditions={"HasTwo": {"Fn::Not": [{"Fn::Equals": [second, ""]}]}},
        ):
            return False
    except (ClientError, RuntimeError) as error:
        if "Fn::Select" not in str(error):
            raise
        return True


def lacks_import_over() -> bool:
    with Probe(rest({"/x": {"get": {INTEGRATION: MOCK}}}), "unadapted") as probe:
        before = probe.id("Api")
        probe.update(rest({"/y": {"get": {INTEGRATION: MOCK}}}))
        return probe.id("Api") != before
