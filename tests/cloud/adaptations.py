"""What the emulated cloud lacks, and what the templates are given instead.

Each `Adaptation` says why it exists and for which version of the emulator that was seen. `apply` changes
a copy of the template; `lacking` asks the emulator itself whether the gap is still there. A run fails
when an adaptation changes nothing, or when its gap has gone: then it must be deleted here.

What is under test stays as the template has it: functions, versions, aliases, layers, keys, roles,
environment, the API's deployment, CloudFront. `under_test` holds every adaptation to that.
"""

import json
from dataclasses import dataclass
from typing import Callable

import probes
from openapi import ANY, AUTHORIZER, INTEGRATION, VERBS

EMULATOR = "ministack 1.5.33"

# No adaptation may change a resource of these types, or a setting of all functions.
UNDER_TEST = (
    "AWS::Serverless::Function",
    "AWS::Serverless::LayerVersion",
    "AWS::DynamoDB::Table",
    "AWS::KMS::",
    "AWS::IAM::",
    "AWS::AppConfig::",
    "AWS::CloudFront::",
    "AWS::SecretsManager::",
    "AWS::Lambda::",
)


@dataclass(frozen=True)
class Adaptation:
    """One gap of the emulator. `kinds`: the templates that it concerns. `apply` is None where `emulator.py`
    adds to the emulator what is missing, or where what is observed is read in another way."""

    name: str
    reason: str
    kinds: tuple[str, ...]
    apply: Callable[[dict], None] | None
    lacking: Callable[[], bool]


# --- what is changed -------------------------------------------------------------------------


def web_acl_association(template: dict) -> None:
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::WAFv2::WebACLAssociation":
            del template["Resources"][name]


def metric_math(template: dict) -> None:
    for name, resource in list(template["Resources"].items()):
        if resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"]:
            del template["Resources"][name]


def code_deploy(template: dict) -> None:
    template["Globals"]["Function"].pop("DeploymentPreference", None)


def operations(template: dict):
    """Every operation of the API's document, with the item that holds it."""
    for item in template["Resources"]["Api"]["Properties"]["DefinitionBody"]["paths"].values():
        for method, operation in list(item.items()):
            if isinstance(operation, dict) and INTEGRATION in operation:
                yield item, method, operation


def any_method(template: dict) -> None:
    for item, method, operation in operations(template):
        if method == ANY:
            del item[ANY]
            for verb in VERBS:
                item.setdefault(verb, operation)


def context_identity(template: dict) -> None:
    body = template["Resources"]["Api"]["Properties"]["DefinitionBody"]
    for scheme in body["components"]["securitySchemes"].values():
        authorizer = scheme[AUTHORIZER]
        if "identitySource" in authorizer:
            authorizer["identitySource"] = json.loads(
                json.dumps(authorizer["identitySource"]).replace(", context.httpMethod, context.resourcePath", "")
            )
            authorizer["authorizerResultTtlInSeconds"] = 0


def http_api_routes(template: dict) -> None:
    resources = template["Resources"]
    body = resources["Api"]["Properties"]["DefinitionBody"]
    api = {"Ref": "Api"}
    for name, scheme in body["components"]["securitySchemes"].items():
        authorizer = scheme[AUTHORIZER]
        sources = authorizer.get("identitySource")
        resources[logical("Authorizer", name)] = {
            "Type": "AWS::ApiGatewayV2::Authorizer",
            "Properties": {
                "ApiId": api,
                "Name": name,
                "AuthorizerType": "REQUEST",
                "AuthorizerUri": authorizer["authorizerUri"],
                "AuthorizerPayloadFormatVersion": authorizer["authorizerPayloadFormatVersion"],
                "AuthorizerResultTtlInSeconds": authorizer["authorizerResultTtlInSeconds"],
                "EnableSimpleResponses": authorizer["enableSimpleResponses"],
                "IdentitySource": split_sources(sources) if sources else [],
            },
        }
    for path, item in body["paths"].items():
        for method, operation in item.items():
            integration = operation[INTEGRATION]
            name = f"{'ANY' if method == ANY else method.upper()} {path}"
            target = logical("Integration", name)
            properties = {
                "ApiId": api,
                "IntegrationType": integration["type"].upper(),
                "IntegrationMethod": integration["httpMethod"],
                "PayloadFormatVersion": integration["payloadFormatVersion"],
                "IntegrationUri": integration["uri"],
            }
            if integration["type"] == "http_proxy":
                properties["IntegrationUri"] = {"Ref": "BackendUrl"}
                properties["RequestParameters"] = {
                    key: str(value).replace("$context.authorizer.jwt", "$context.authorizer.lambda.jwt")
                    for key, value in integration["requestParameters"].items()
                }
            resources[target] = {"Type": "AWS::ApiGatewayV2::Integration", "Properties": properties}
            route = {
                "ApiId": api,
                "RouteKey": name,
                "Target": {"Fn::Join": ["/", ["integrations", {"Ref": target}]]},
            }
            for requirement in operation.get("security", []):
                (scheme,) = requirement
                route |= {"AuthorizationType": "CUSTOM", "AuthorizerId": {"Ref": logical("Authorizer", scheme)}}
            resources[logical("Route", name)] = {"Type": "AWS::ApiGatewayV2::Route", "Properties": route}


def logical(kind: str, name: str) -> str:
    return f"Emulated{kind}" + "".join(part.capitalize() for part in "".join(c if c.isalnum() else " " for c in name).split())


def split_sources(sources):
    """`"a, b"` as a list, in both arms of an `Fn::If`."""
    if isinstance(sources, str):
        return [part.strip() for part in sources.split(",")]
    condition, yes, no = sources["Fn::If"]
    return {"Fn::If": [condition, split_sources(yes), no if isinstance(no, dict) else split_sources(no)]}


ALL = (
    Adaptation(
        "web-acl-association",
        "WAFv2::WebACLAssociation is no known type, and no web ACL is evaluated: the association is left out",
        ("rest",),
        web_acl_association,
        probes.lacks_web_acl_association,
    ),
    Adaptation(
        "metric-math",
        "alarms on an expression over metrics (Properties.Metrics) are refused, and none is evaluated: left out",
        ("rest", "http"),
        metric_math,
        probes.lacks_metric_math,
    ),
    Adaptation(
        "code-deploy",
        "CodeDeploy is no known service: aliases move at once, as with DeploymentPreference=AllAtOnce; how they move "
        "is judged on the transformed template (tests/sam/test_grants.py)",
        ("rest", "http"),
        code_deploy,
        probes.lacks_code_deploy,
    ),
    Adaptation(
        "any-method",
        "an imported x-amazon-apigateway-any-method is dropped: each verb gets the operation",
        ("rest",),
        any_method,
        probes.lacks_any_method,
    ),
    Adaptation(
        "context-identity",
        "identity sources of a REST API that are context.* count as absent: left out, and with them the time "
        "for which answers are kept, since a kept answer would then be for every route",
        ("rest",),
        context_identity,
        probes.lacks_context_identity,
    ),
    Adaptation(
        "http-api-body",
        "the document of an HTTP API makes no routes: routes, integrations and authorizers are resources; the "
        "emulator appends the path to an integration's URI, and calls $context.authorizer.x authorizer.lambda.x",
        ("http",),
        http_api_routes,
        probes.lacks_http_api_body,
    ),
    Adaptation(
        "thrown-unauthorized",
        "an HTTP API answers 500 when an authorizer throws `Unauthorized`, as when it fails: where 500 comes, alias "
        "live is asked which it was (what AWS answers, tests/live/smoke.py says)",
        ("http",),
        None,
        probes.lacks_thrown_unauthorized,
    ),
    Adaptation(
        "layers",
        "a function of a custom runtime sees no layer: emulator.py mounts each version's own at /opt",
        ("rest", "http"),
        None,
        probes.lacks_layers,
    ),
    Adaptation(
        "functions-in-conditions",
        "Split and Join are not resolved in Conditions: emulator.py resolves them",
        ("rest", "http"),
        None,
        probes.lacks_functions_in_conditions,
    ),
    Adaptation(
        "import-over",
        "a changed document makes another REST API and deletes the first: emulator.py imports it over the first",
        ("rest",),
        None,
        probes.lacks_import_over,
    ),
)


class Adaptations:
    """The adaptations of one template: applies them, and says what was needed."""

    def __init__(self, kind: str):
        self.mine = [one for one in ALL if kind in one.kinds]
        self.idle: set[str] = set()

    def __call__(self, template: dict) -> dict:
        for one in self.mine:
            if one.apply is None:
                continue
            before = json.dumps(template, sort_keys=True)
            kept = under_test(template)
            one.apply(template)
            if json.dumps(template, sort_keys=True) == before:
                self.idle.add(one.name)
            if under_test(template) != kept:
                raise RuntimeError(f"{one.name} changes what is under test")
        return template

    def check(self) -> list[str]:
        """Which adaptations are needed no longer, and why."""
        wrong = [f"{name}: changes nothing in the template" for name in sorted(self.idle)]
        for one in self.mine:
            if not one.lacking():
                wrong.append(f"{one.name}: the emulator lacks it no longer ({one.reason})")
        return wrong


def under_test(template: dict) -> str:
    """What no adaptation may change."""
    kept = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"].startswith(UNDER_TEST)
    }
    api = {key: value for key, value in template["Resources"]["Api"].items() if key != "Properties"}
    properties = {
        key: value for key, value in template["Resources"]["Api"]["Properties"].items() if key != "DefinitionBody"
    }
    rest = {key: value for key, value in template.items() if key not in ("Resources", "Globals")}
    function = template["Globals"]["Function"]
    rest["Globals"] = {key: value for key, value in function.items() if key != "DeploymentPreference"}
    return json.dumps([kept, api, properties, rest], sort_keys=True)
