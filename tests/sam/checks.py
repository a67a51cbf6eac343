"""What must hold of a template. Each check returns what is wrong, and takes the template as data, so
that `test_template.py` can break a copy in one point and see the check find it.

`resources` are those of a resolved stack (`template.resolve`).
"""

import fnmatch
import json
import re

from template import FUNCTIONS, ROOT, function_environment, gateway_ttl, of_type

ANY = "x-amazon-apigateway-any-method"
INTEGRATION = "x-amazon-apigateway-integration"
METHODS = {"delete", "get", "head", "options", "patch", "post", "put", ANY}

# The routes that have no authorizer, because their functions judge for themselves. It only shrinks.
PUBLIC = {
    "ANY /.well-known/{proxy+}",
    "ANY /auth/{proxy+}",
    "ANY /oauth/authorize",
    "ANY /oauth/par",
    "ANY /oauth/{proxy+}",
}
# The route that catches what the policy does not name.
FALLBACK = "ANY /api/{proxy+}"

# What no service may get as the client wrote it. The local gateway reads the same list.
_LISTED = [
    line.split() for line in (ROOT / "infra/headers.txt").read_text().splitlines() if line and not line.startswith("#")
]
FORGEABLE = {
    "rest": {name for name, *_ in _LISTED},
    "http": {name for name, *alone in _LISTED if not alone},
}
# Under which name the JWT arrives, and where it comes from.
JWT = {
    "rest": ("integration.request.header.Authorization", "context.authorizer.authorization"),
    "http": ("overwrite:header.x-cloakroom-jwt", "$context.authorizer.jwt"),
}
IDENTITY = {
    "rest": {"method.request.header.Authorization", "context.httpMethod", "context.resourcePath"},
    "http": {"$request.header.x-cloakroom-token", "$request.header.x-origin-verify", "$context.routeKey"},
}


def body(resources: dict) -> dict:
    """The OpenAPI document of the stack's API."""
    return resources["Api"]["Properties"]["Body"]


def routes(resources: dict) -> dict:
    """`METHOD /path` to operation, preflights aside."""
    found = {}
    for path, item in body(resources)["paths"].items():
        for method, operation in item.items():
            if method not in METHODS:
                continue
            name = "ANY" if method == ANY else method.upper()
            if name == "OPTIONS" and operation[INTEGRATION]["type"] == "mock":
                continue
            found[f"{name} {path}"] = operation
    return found


def schemes(resources: dict) -> dict:
    return body(resources)["components"]["securitySchemes"]


def authorizers_of(resources: dict, operation: dict) -> list[dict]:
    """The authorizers that guard an operation."""
    known = schemes(resources)
    names = [name for one in operation.get("security", []) for name in one]
    return [
        known[name]["x-amazon-apigateway-authorizer"]
        for name in names
        if "x-amazon-apigateway-authorizer" in known.get(name, {})
    ]


def unguarded(resources: dict) -> list[str]:
    """Routes that are neither public nor guarded, and public ones that are no longer there."""
    wrong = []
    all_routes = routes(resources)
    for name, operation in all_routes.items():
        if name in PUBLIC:
            continue
        # An empty requirement among others would make all of them optional.
        guarded = authorizers_of(resources, operation) and all(operation["security"])
        if not guarded:
            wrong.append(f"{name} has no authorizer and is not on the public list")
    wrong += [f"{name} is on the public list and does not exist" for name in PUBLIC - set(all_routes)]
    for path, item in body(resources)["paths"].items():
        for method in item:
            if method not in METHODS:
                wrong.append(f"{path}: {method} is not understood")
    return wrong


def not_the_policy(resources: dict, settings: dict) -> list[str]:
    """Where the API and the routes of cloakroom.toml differ."""
    policy = {f"{route['method']} {route['path']}": route for route in settings["routes"]}
    api = {name for name in routes(resources) if name not in PUBLIC | {FALLBACK}}
    wrong = [f"{name} is in the API and not in the policy" for name in api - set(policy)]
    wrong += [f"{name} is in the policy and not in the API" for name in set(policy) - api]
    for name in api & set(policy):
        guarding = authorizers_of(resources, routes(resources)[name])
        if policy[name].get("dpop") and any(one["authorizerResultTtlInSeconds"] for one in guarding):
            wrong.append(f"{name} demands DPoP, and the answers of its authorizer are kept")
    return wrong


def stale(kind: str, resources: dict, settings: dict) -> list[str]:
    """Authorizers whose answers are kept for another time than the policy says, or by too little."""
    wrong = []
    allowed = gateway_ttl(settings)
    for name, scheme in schemes(resources).items():
        authorizer = scheme["x-amazon-apigateway-authorizer"]
        ttl = int(authorizer["authorizerResultTtlInSeconds"])
        sources = {part.strip() for part in authorizer.get("identitySource", "").split(",") if part.strip()}
        if ttl not in (0, allowed):
            wrong.append(f"{name}: answers are kept for {ttl} s; revocation.max_latency allows {allowed}")
        if ttl and sources != IDENTITY[kind]:
            wrong.append(f"{name}: answers are kept by {sorted(sources)}")
        if not ttl and sources and settings.get("edge", "none") == "none":
            wrong.append(f"{name}: asks for {sorted(sources)}, and a browser has only its cookie")
        if authorizer["type"] != "request":
            wrong.append(f"{name}: is not sent whole requests")
    if allowed and all(
        int(scheme["x-amazon-apigateway-authorizer"]["authorizerResultTtlInSeconds"]) == 0
        for scheme in schemes(resources).values()
    ):
        wrong.append("no authorizer keeps answers, though the policy allows it")
    return wrong


def forgeable(kind: str, resources: dict) -> list[str]:
    """Routes to services on which a client could say who it is."""
    wrong = []
    for name, operation in routes(resources).items():
        integration = operation[INTEGRATION]
        if integration["type"] == "aws_proxy":
            continue
        if integration["type"] != "http_proxy":
            wrong.append(f"{name}: {integration['type']} is not understood")
            continue
        mapping = integration.get("requestParameters", {})
        key, value = JWT[kind]
        if mapping.get(key) != value:
            wrong.append(f"{name}: the JWT does not arrive as {key}")
        mapped = {target.rsplit(".", 1)[-1].lower() for target in mapping if "header." in target}
        wrong += [f"{name}: {header} passes as the client wrote it" for header in FORGEABLE[kind] - mapped]
        # The local gateway would let it pass.
        wrong += [f"{name}: {header} is not in infra/headers.txt" for header in mapped - FORGEABLE[kind]]
        for target, source in mapping.items():
            if target != key and "header." in target and source != "''":
                wrong.append(f"{name}: {target} is {source}")
    return wrong


def lambdas(resources: dict) -> list[tuple[str, str]]:
    """`(what, alias)` of every function that the API calls."""
    found = [
        (name, operation[INTEGRATION]["uri"])
        for name, operation in routes(resources).items()
        if operation[INTEGRATION]["type"] == "aws_proxy"
    ]
    found += [
        ("authorizer", scheme["x-amazon-apigateway-authorizer"]["authorizerUri"])
        for scheme in schemes(resources).values()
    ]
    return [(name, re.search(r"functions/(.+)/invocations", uri).group(1)) for name, uri in found]


def not_permitted(resources: dict) -> list[str]:
    """Functions that the API calls and may not, and whoever else may."""
    wrong = []
    permissions = of_type(resources, "AWS::Lambda::Permission").values()
    for name, alias in lambdas(resources):
        tail = "authorizers/1" if name == "authorizer" else _example(name)
        if not any(
            permission["FunctionName"] == alias and fnmatch.fnmatch(tail, _tail(permission)) for permission in permissions
        ):
            wrong.append(f"{name}: the API may not call {alias}")
    for permission in permissions:
        if permission["Principal"] != "apigateway.amazonaws.com" or "<Api>" not in permission.get("SourceArn", ""):
            wrong.append(f"{permission['FunctionName']} may be called by others than this API")
    return wrong


def _tail(permission: dict) -> str:
    return permission.get("SourceArn", "").partition("<Api>/")[2]


def _example(route: str) -> str:
    method, path = route.split(" ", 1)
    return f"live/{'POST' if method == 'ANY' else method}{path.replace('{proxy+}', 'x')}"


def policies(resources: dict) -> list[tuple[str, dict]]:
    """Every policy statement, wherever it stands, with the name of its resource."""
    found = []

    def visit(name, value):
        if isinstance(value, dict):
            if "Effect" in value and ("Action" in value or "NotAction" in value):
                found.append((name, value))
            for part in value.values():
                visit(name, part)
        elif isinstance(value, list):
            for part in value:
                visit(name, part)

    for name, resource in resources.items():
        visit(name, resource["Properties"])
    return found


def as_list(value) -> list:
    return value if isinstance(value, list) else [value]


def principals(statement: dict) -> list[str]:
    """Whom a statement is about; nobody in particular in a role's own policy."""
    named = statement.get("Principal", {})
    return [named] if isinstance(named, str) else [one for part in named.values() for one in as_list(part)]


# X-Ray's actions know no resources, and a key's policy means that key.
ANYWHERE = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}


def too_wide(resources: dict) -> list[str]:
    """Statements that allow more than they name."""
    wrong = []
    for name, statement in policies(resources):
        if "NotAction" in statement or "NotResource" in statement or "NotPrincipal" in statement:
            wrong.append(f"{name}: says what is not meant")
        if statement["Effect"] != "Allow":
            continue
        actions = as_list(statement.get("Action", []))
        wrong += [f"{name}: the action {action}" for action in actions if "*" in action or "?" in action]
        is_key = resources[name]["Type"] == "AWS::KMS::Key"
        if "*" in as_list(statement.get("Resource", [])) and not is_key and not set(actions) <= ANYWHERE:
            wrong.append(f"{name}: {actions} on everything")
        if "*" in principals(statement):
            wrong.append(f"{name}: {actions} by everybody")
        if any(action.startswith("dynamodb:") for action in actions) and "Condition" not in statement:
            wrong.append(f"{name}: {actions} on every item")
    return wrong


# Using a key, as opposed to administering it. CreateGrant hands any of these on.
USES = {
    "kms:CreateGrant",
    "kms:Decrypt",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyPair",
    "kms:GenerateDataKeyPairWithoutPlaintext",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:GenerateMac",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
    "kms:Sign",
    "kms:Verify",
    "kms:VerifyMac",
}


def loose_keys(resources: dict) -> list[str]:
    """Keys that the account may use, or that IAM alone could open."""
    wrong = []
    for name, key in of_type(resources, "AWS::KMS::Key").items():
        for statement in key["KeyPolicy"]["Statement"]:
            uses = USES & set(as_list(statement["Action"]))
            if uses and any(principal.endswith(":root") for principal in principals(statement)):
                wrong.append(f"{name}: whoever IAM allows {sorted(uses)} may")
            if uses and "Condition" not in statement:
                wrong.append(f"{name}: {sorted(uses)} by any algorithm, or for any system")
        if not any("kms:PutKeyPolicy" in as_list(one["Action"]) for one in key["KeyPolicy"]["Statement"]):
            wrong.append(f"{name}: nobody can administer it")
    return wrong


# What may be in an access log. No header, query, path or address: specs D64.
LOGGED = {
    "authorizer.client_id",
    "authorizer.error",
    "authorizer.latency",
    "authorizer.status",
    "authorizer.subject_tag",
    "error.responseType",
    "httpMethod",
    "integrationLatency",
    "integrationStatus",
    "requestId",
    "requestTimeEpoch",
    "resourcePath",
    "responseLatency",
    "routeKey",
    "status",
    "waf.status",
    "xrayTraceId",
}


def leaky_logs(resources: dict) -> list[str]:
    """Access logs that hold what may be secret, and execution logs, which hold everything."""
    wrong = []
    found = 0
    for name, resource in resources.items():
        properties = resource["Properties"]
        settings = properties.get("AccessLogSetting") or properties.get("AccessLogSettings")
        if settings:
            found += 1
            try:
                fields = json.loads(settings["Format"])
            except ValueError:
                wrong.append(f"{name}: the log is not JSON")
                fields = {}
            for field, variable in fields.items():
                if not variable.startswith("$context.") or variable.removeprefix("$context.") not in LOGGED:
                    wrong.append(f"{name}: {field} logs {variable}")
        for setting in properties.get("MethodSettings", []):
            if setting.get("DataTraceEnabled") or setting.get("LoggingLevel", "OFF") != "OFF":
                wrong.append(f"{name}: execution logs are on")
    if not found:
        wrong.append("there is no access log")
    return wrong


def unhelpful_refusals(resources: dict, cors: str | None = None) -> list[str]:
    """What a REST API must answer in our words."""
    wrong = []
    answers = body(resources)["x-amazon-apigateway-gateway-responses"]
    for name, status, header in (
        ("UNAUTHORIZED", 401, "WWW-Authenticate"),
        ("ACCESS_DENIED", 403, "WWW-Authenticate"),
        ("AUTHORIZER_FAILURE", 503, "Retry-After"),
        ("AUTHORIZER_CONFIGURATION_ERROR", 503, "Retry-After"),
        ("THROTTLED", 429, "Retry-After"),
    ):
        answer = answers.get(name, {})
        if answer.get("statusCode") != status:
            wrong.append(f"{name} is {answer.get('statusCode')}")
        if f"gatewayresponse.header.{header}" not in answer.get("responseParameters", {}):
            wrong.append(f"{name} has no {header}")
    challenge = answers["UNAUTHORIZED"]["responseParameters"].get("gatewayresponse.header.WWW-Authenticate")
    if challenge != "'Bearer realm=\"cloakroom\"'":
        wrong.append(f"UNAUTHORIZED says {challenge}")
    for name in ("DEFAULT_4XX", "DEFAULT_5XX"):
        if name not in answers:
            wrong.append(f"{name} is AWS's own")
    for name, answer in answers.items():
        headers = answer["responseParameters"]
        if headers.get("gatewayresponse.header.Cache-Control") != "'no-store'":
            wrong.append(f"{name} may be cached")
        if headers.get("gatewayresponse.header.Access-Control-Allow-Origin") != (cors and f"'{cors}'"):
            wrong.append(f"{name}: CORS is not for {cors}")
        if "access-control-allow-credentials" in json.dumps(headers).lower():
            wrong.append(f"{name}: cookies of other origins")
    return wrong


def accepted(statement: dict) -> list[dict]:
    """What WAF lets through: one secret, or two while it changes."""
    statements = statement.get("OrStatement", {"Statements": [statement]})["Statements"]
    return [one["ByteMatchStatement"] for one in statements]


def open_hostname(kind: str, resources: dict) -> list[str]:
    """Ways to the API past the edge (D69)."""
    if "Distribution" not in resources:
        return []
    wrong = []
    distribution = resources["Distribution"]["Properties"]["DistributionConfig"]
    (api,) = (origin for origin in distribution["Origins"] if origin["Id"] == "api")
    disabled = any(
        server.get("x-amazon-apigateway-endpoint-configuration", {}).get("disableExecuteApiEndpoint") is True
        for server in body(resources).get("servers", [])
    )
    if ".execute-api." not in api["DomainName"] and not disabled:
        wrong.append("the API has a domain, and its own hostname is open")
    secret = {header["HeaderName"]: header["HeaderValue"] for header in api.get("OriginCustomHeaders", [])}
    if kind == "http":
        # No WAF stands before it: the authorizer has to know the secret.
        known = function_environment(resources, "Authorizer").get("CLOAKROOM_ORIGIN_SECRET", "")
        values = known.split(",")
        if secret.get("x-origin-verify") not in values or not all(
            value.startswith("{{resolve:secretsmanager:") for value in values
        ):
            wrong.append("the API does not tell CloudFront from others")
        if ".execute-api." in api["DomainName"]:
            wrong.append("nothing can guard the hostname of an HTTP API")
        return wrong
    blocks = [
        accepted(rule["Statement"]["NotStatement"]["Statement"])
        for rule in resources.get("WebAcl", {"Properties": {"Rules": []}})["Properties"]["Rules"]
        if "NotStatement" in rule["Statement"] and "Block" in rule["Action"]
    ]
    guarded = any(
        any(match["SearchString"] == secret.get("x-origin-verify") for match in block)
        and all(
            match["FieldToMatch"] == {"SingleHeader": {"Name": "x-origin-verify"}}
            and match["PositionalConstraint"] == "EXACTLY"
            and match["SearchString"].startswith("{{resolve:secretsmanager:")
            for match in block
        )
        for block in blocks
    )
    if not guarded or "WebAclAssociation" not in resources:
        wrong.append("the API does not tell CloudFront from others")
    return wrong


CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"


# The errors that CloudFront keeps for ten seconds, for everybody, where it is not told otherwise.
KEPT_ERRORS = {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}


def loose_edge(resources: dict) -> list[str]:
    """Behaviours of the distribution that miss the edge function, or keep answers for others."""
    if "Distribution" not in resources:
        return []
    wrong = []
    config = resources["Distribution"]["Properties"]["DistributionConfig"]
    errors = {one["ErrorCode"]: one for one in config.get("CustomErrorResponses", [])}
    for code in sorted(KEPT_ERRORS):
        if errors.get(code, {}).get("ErrorCachingMinTTL") != 0:
            wrong.append(f"an error {code} is kept")
    wrong += [f"an error {code} is answered with a page" for code in errors if "ResponsePagePath" in errors[code]]
    behaviours = config["CacheBehaviors"] + [config["DefaultCacheBehavior"] | {"PathPattern": "*"}]
    patterns = set()
    for behaviour in behaviours:
        path = behaviour["PathPattern"]
        if behaviour["TargetOriginId"] != "api":
            continue
        patterns.add(path)
        functions = {one["EventType"]: one["FunctionARN"] for one in behaviour.get("FunctionAssociations", [])}
        if functions.get("viewer-request") != "<EdgeFunction.FunctionMetadata.FunctionARN>":
            wrong.append(f"{path}: past the edge function")
        if path != "/.well-known/*":
            if behaviour["CachePolicyId"] != CACHING_DISABLED:
                wrong.append(f"{path}: answers are kept")
            if behaviour.get("OriginRequestPolicyId") != "<ApiOriginRequestPolicy>":
                wrong.append(f"{path}: headers do not reach the API")
        if behaviour["ViewerProtocolPolicy"] == "allow-all":
            wrong.append(f"{path}: in the clear")
    wrong += [
        f"{path} does not reach the API"
        for path in ("/api/*", "/auth/*", "/oauth/*", "/.well-known/*")
        if path not in patterns
    ]
    request = resources["ApiOriginRequestPolicy"]["Properties"]["OriginRequestPolicyConfig"]
    if request["HeadersConfig"] != {"HeaderBehavior": "allExcept", "Headers": ["host"]}:
        wrong.append("Authorization does not pass, or Host does")
    if request["CookiesConfig"]["CookieBehavior"] != "all":
        wrong.append("cookies do not reach /auth")
    public = resources["PublicCachePolicy"]["Properties"]["CachePolicyConfig"]
    if public["ParametersInCacheKeyAndForwardedToOrigin"]["CookiesConfig"]["CookieBehavior"] != "none":
        wrong.append("public keys are kept per cookie")
    return wrong


def frail_table(template: dict, resources: dict) -> list[str]:
    """What the table must have, whatever is chosen."""
    if "Table" not in resources:
        return []
    table = resources["Table"]["Properties"]
    wrong = []
    if [key["AttributeName"] for key in table["KeySchema"]] != ["pk", "sk"]:
        wrong.append("its keys are not pk and sk")
    if table.get("TimeToLiveSpecification") != {"AttributeName": "ttl", "Enabled": True}:
        wrong.append("nothing is ever deleted")
    if not table.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
        wrong.append("no point-in-time recovery")
    if table.get("BillingMode") != "PAY_PER_REQUEST":
        wrong.append("not on demand")
    if not table.get("SSESpecification", {}).get("SSEEnabled"):
        wrong.append("encrypted by no key of the account")
    if str(table.get("DeletionProtectionEnabled")).lower() != "true":
        wrong.append("can be deleted")
    if template["Resources"]["Table"].get("DeletionPolicy") != "Retain":
        wrong.append("goes with the stack")
    return wrong


def unknown_metrics(resources: dict) -> list[str]:
    """Alarms and graphs of ours that no function feeds: they would be green for ever."""
    text = (ROOT / "docs/metrics.md").read_text()
    # Name to dimensions; a test in crates/gateway holds the document to the code.
    known = {
        name: set(dimensions.split(", "))
        for name, dimensions in re.findall(r"^\| `(\w+)` \| \w+ \| ([\w, ]+) \|", text, re.MULTILINE)
    }
    functions = {"authorizer", "login", "session", "token", "jwks"}
    stacks = {function_environment(resources, function)["CLOAKROOM_STACK"] for function in FUNCTIONS}

    own_api = api_dimensions(resources)

    def fed(namespace: str, metric: str, dimensions: dict) -> bool:
        if namespace == "AWS/ApiGateway":
            return any(metric in names and dimensions == one for names, one in own_api)
        if namespace == "AWS/Lambda":
            return dimensions.keys() == {"FunctionName"} and dimensions["FunctionName"] in {f"<{one}>" for one in FUNCTIONS}
        return (
            namespace == "Cloakroom"
            and set(dimensions) == known.get(metric)
            and {dimensions["stack"]} == stacks
            and dimensions.get("function", "jwks") in functions
        )

    wrong = []
    for name, alarm in of_type(resources, "AWS::CloudWatch::Alarm").items():
        for metric in watched(alarm):
            if not fed(*metric):
                wrong.append(f"{name}: nobody feeds {metric}")
    board = json.loads(resources["Dashboard"]["Properties"]["DashboardBody"])
    for widget in board["widgets"]:
        for metric in widget["properties"]["metrics"]:
            if metric[0] == "Cloakroom" and not fed(metric[0], metric[1], dict(zip(metric[2::2], metric[3::2]))):
                wrong.append(f"the dashboard: nobody feeds {metric}")
    return wrong


def api_dimensions(resources: dict) -> list[tuple[set, dict]]:
    """What API Gateway counts for this API's stage: names of metrics, and their dimensions."""
    both = {"Count", "IntegrationLatency", "Latency"}
    rest = [
        ({"4XXError", "5XXError"} | both, {"ApiName": body(resources)["info"]["title"], "Stage": stage["StageName"]})
        for stage in of_type(resources, "AWS::ApiGateway::Stage").values()
    ]
    http = [
        ({"4xx", "5xx"} | both, {"ApiId": "<Api>", "Stage": stage["StageName"]})
        for stage in of_type(resources, "AWS::ApiGatewayV2::Stage").values()
    ]
    return rest + http


def watched(alarm: dict) -> list[tuple[str, str, dict]]:
    """`(namespace, metric, dimensions)` of every metric that an alarm looks at."""
    stats = [query["MetricStat"]["Metric"] for query in alarm.get("Metrics", []) if "MetricStat" in query]
    return [
        (one["Namespace"], one["MetricName"], {pair["Name"]: pair["Value"] for pair in one.get("Dimensions", [])})
        for one in stats or [alarm]
    ]


def everything(kind: str, template: dict, resources: dict, settings: dict) -> list[str]:
    """Every check that holds for both kinds of API."""
    return (
        unguarded(resources)
        + not_the_policy(resources, settings)
        + stale(kind, resources, settings)
        + forgeable(kind, resources)
        + not_permitted(resources)
        + too_wide(resources)
        + loose_keys(resources)
        + leaky_logs(resources)
        + open_hostname(kind, resources)
        + loose_edge(resources)
        + unknown_metrics(resources)
    )
