"""Deploys a transformed template to `moto`'s CloudFormation, and says with which environment each
function runs there. moto makes the table, roles, functions and the API from the template; it takes no
notice of the kind of a key, so keys are made by the KMS API from the KeySpec and KeyUsage that the
transformed template asks for.

Reads JSON from standard input: `aws` (where moto is), `kms` (where keys are made), `kind`,
`parameters`, `secrets` (SSM parameters), `second` (whether this is the second deploy of a data-key stack,
when the public half of KeysetKey is known). Writes JSON: `environment` by function, `keys` (ARNs by
logical id), `table`, `made` (resource types that moto made).
"""

import base64
import io
import json
import sys
import time
import zipfile

import boto3
import template as sam

CREDENTIALS = {
    "aws_access_key_id": "deployer",
    "aws_secret_access_key": "deployer",
    "region_name": sam.REGION,
}
BUCKET = "code"


def client(service: str, endpoint: str):
    return boto3.client(service, endpoint_url=endpoint, **CREDENTIALS)


# moto makes an API without its document, and then will not deploy one that has no methods.
UNABLE = {"AWS::ApiGateway::Deployment", "AWS::ApiGateway::Stage", "AWS::Lambda::Alias"}


def for_moto(document: dict) -> dict:
    """The document without what moto cannot make. Who refers to an alias, here refers to its function."""
    aliases = {
        name: resource["Properties"]["FunctionName"]
        for name, resource in document["Resources"].items()
        if resource["Type"] == "AWS::Lambda::Alias"
    }

    def visit(value):
        if isinstance(value, list):
            return [visit(part) for part in value]
        if isinstance(value, dict):
            if set(value) == {"Ref"} and value["Ref"] in aliases:
                return aliases[value["Ref"]]
            return {key: visit(part) for key, part in value.items()}
        return value

    kept = {name: one for name, one in document["Resources"].items() if one["Type"] not in UNABLE}
    return visit(document | {"Resources": kept, "Outputs": {}})


def upload(endpoint: str, document: dict) -> str:
    """Puts code and template into a bucket; a template of this size has to come from one."""
    s3 = client("s3", endpoint)
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": sam.REGION})
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("bootstrap", "")
    s3.put_object(Bucket=BUCKET, Key="code.zip", Body=code.getvalue())
    s3.put_object(Bucket=BUCKET, Key="template.json", Body=json.dumps(document).encode())
    return f"https://{BUCKET}.s3.amazonaws.com/template.json"


def create(endpoint: str, document: dict, values: dict) -> dict[str, tuple[str, str]]:
    """Creates the stack; `(type, physical id)` by logical id."""
    cloudformation = client("cloudformation", endpoint)
    url = upload(endpoint, document)
    parameters = [{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()]
    cloudformation.create_stack(
        StackName="cloakroom", TemplateURL=url, Parameters=parameters, Capabilities=["CAPABILITY_IAM"]
    )
    for _ in range(100):
        (stack,) = cloudformation.describe_stacks(StackName="cloakroom")["Stacks"]
        if stack["StackStatus"] == "CREATE_COMPLETE":
            break
        if stack["StackStatus"] != "CREATE_IN_PROGRESS":
            raise SystemExit(f"the stack is {stack['StackStatus']}: {stack.get('StackStatusReason')}")
        time.sleep(0.1)
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName="cloakroom")
    return {
        one["LogicalResourceId"]: (one["ResourceType"], one.get("PhysicalResourceId", ""))
        for page in pages
        for one in page["StackResourceSummaries"]
    }


def make_keys(endpoint: str, resources: dict) -> dict:
    """Makes the keys of the template; their ARNs by logical id."""
    kms = client("kms", endpoint)
    made = {}
    for name, key in sam.of_type(resources, "AWS::KMS::Key").items():
        metadata = kms.create_key(
            KeySpec=key["KeySpec"], KeyUsage=key["KeyUsage"], Description=key["Description"]
        )["KeyMetadata"]
        if (metadata["KeySpec"], metadata["KeyUsage"]) != (key["KeySpec"], key["KeyUsage"]):
            raise SystemExit(f"{name} is of another kind than the template asks for")
        made[name] = metadata["Arn"]
    return made


def public_half(endpoint: str, arn: str) -> str:
    """As a parameter has it: without the `=` at its end."""
    key = client("kms", endpoint).get_public_key(KeyId=arn)["PublicKey"]
    return base64.b64encode(key).decode().rstrip("=")


def but_for_keys(environment: dict) -> dict:
    """moto has made others of its own."""
    return {name: str(value) for name, value in environment.items() if "arn:aws:kms:" not in str(value)}


def deploy(order: dict) -> dict:
    document = sam.transformed(order["kind"])
    chosen = dict(order.get("parameters", {}))
    keys = make_keys(order["kms"], sam.resolve(document, chosen))
    if order.get("second"):
        chosen["KeysetPublicKey"] = public_half(order["kms"], keys["KeysetKey"])
    made = create(order["aws"], for_moto(document), sam.parameters(document, chosen))
    expected = {
        name
        for name, resource in sam.resolve(document, chosen).items()
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::IAM::Role", "AWS::Lambda::Function")
    }
    missing = expected - set(made)
    if missing:
        raise SystemExit(f"not made: {sorted(missing)}")
    table = made["Table"][1]
    attributes = {("Table", None): table} | {(name, "Arn"): arn for name, arn in keys.items()}
    resources = sam.resolve(document, chosen, attributes)
    if order["kind"] == "rest":
        # Refuses a document that is not OpenAPI, as SAM's servers without a URL are not.
        document = {key: part for key, part in resources["Api"]["Properties"]["Body"].items() if key != "servers"}
        client("apigateway", order["aws"]).put_rest_api(
            restApiId=made["Api"][1],
            mode="overwrite",
            failOnWarnings=True,
            body=json.dumps(document).encode(),
        )
    ssm = client("ssm", order["aws"])
    for name, value in order.get("secrets", {}).items():
        ssm.put_parameter(Name=name, Value=value, Type="SecureString")
    manager = client("secretsmanager", order["aws"])
    for name, value in order.get("secrets", {}).items():
        manager.create_secret(Name=name.removeprefix("/"), SecretString=value)
    dynamodb = client("dynamodb", order["aws"])
    described = dynamodb.describe_table(TableName=table)["Table"]
    functions = client("lambda", order["aws"])
    for function in sam.FUNCTIONS:
        # moto resolves intrinsic functions by its own lights: the two must agree.
        deployed = functions.get_function_configuration(FunctionName=made[function][1])
        # In a list that is joined, moto writes AWS::NoValue as "None"; CloudFormation leaves it out.
        theirs = {
            name: value.replace(",None", "") for name, value in but_for_keys(deployed["Environment"]["Variables"]).items()
        }
        ours = but_for_keys(sam.function_environment(resources, function))
        if ours != theirs:
            raise SystemExit(f"{function} is told {theirs} there, and {ours} here")
    return {
        "environment": {
            function.lower(): sam.function_environment(resources, function) for function in sam.FUNCTIONS
        },
        "keys": keys,
        "table": {
            "name": table,
            "keys": [key["AttributeName"] for key in described["KeySchema"]],
        },
        "made": sorted({kind for kind, _ in made.values()}),
    }


if __name__ == "__main__":
    json.dump(deploy(json.load(sys.stdin)), sys.stdout)
