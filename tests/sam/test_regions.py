"""What a second stack, Region or partition meets: names, the order in which things are made, ARNs, and the
variants without the edge."""

import copy
import json
import re
import sys
import unittest

import checks
import template as sam
from test_template import CHOICES, HOST, ORIGIN, OWN_DOMAIN, command

sys.path.insert(0, str(sam.ROOT / "infra"))
import regional  # noqa: E402

# Where each partition is, and what is said there.
PARTITIONS = {
    "aws": ("eu-central-1", "amazonaws.com", "console.aws.amazon.com"),
    "aws-cn": ("cn-north-1", "amazonaws.com.cn", "console.amazonaws.cn"),
    "aws-eusc": ("eusc-de-east-1", "amazonaws.eu", "console.amazonaws-eusc.eu"),
    "aws-us-gov": ("us-gov-west-1", "amazonaws.com", "console.amazonaws-us-gov.com"),
}
WITHOUT_EDGE = {
    "rest": HOST | OWN_DOMAIN,
    "http": {},
}

# What has one namespace for all Regions of an account (S3: of all accounts).
GLOBAL = ("AWS::CloudFront::", "AWS::IAM::", "AWS::CloudWatch::Dashboard", "AWS::S3::Bucket")
# Names of other things, and names that need only be unique within another resource of the stack.
NOT_OWN = {
    ("AWS::CodeDeploy::DeploymentGroup", "DeploymentConfigName"),
    ("AWS::ApiGateway::BasePathMapping", "DomainName"),
    ("AWS::ApiGateway::DomainName", "DomainName"),
    ("AWS::ApiGateway::Stage", "StageName"),
    ("AWS::ApiGatewayV2::ApiMapping", "DomainName"),
    ("AWS::ApiGatewayV2::DomainName", "DomainName"),
    ("AWS::ApiGatewayV2::Stage", "StageName"),
    ("AWS::AppConfig::ConfigurationProfile", "Name"),
    ("AWS::CloudWatch::Alarm", "MetricName"),
    ("AWS::CodeDeploy::DeploymentGroup", "ApplicationName"),
    ("AWS::Lambda::Alias", "FunctionName"),
    ("AWS::Lambda::Alias", "Name"),
    ("AWS::Lambda::Permission", "FunctionName"),
    ("AWS::Lambda::Version", "FunctionName"),
}
# Lambda's functions, and CloudFront's; everything else takes more.
LONGEST_NAME = 64


def names(resources: dict) -> dict[tuple[str, str], str]:
    """The names that a stack gives to what it makes, by logical id and property."""
    found = {}
    for logical_id, resource in resources.items():
        properties = resource["Properties"]
        nested = [part for key, part in properties.items() if key.endswith("Config") and isinstance(part, dict)]
        for part in [properties, *nested]:
            for key, value in part.items():
                if (key == "Name" or key.endswith("Name")) and (resource["Type"], key) not in NOT_OWN:
                    found[logical_id, key] = str(value)
    return found


def clashing_names(template: dict, chosen: dict) -> list[str]:
    """Names that two stacks of an account, or one in two Regions, would both want; and those that are too long."""

    def of(stack: str, region: str) -> tuple[dict, dict]:
        resources = sam.resolve(template, chosen, pseudo={"AWS::StackName": stack, "AWS::Region": region})
        return resources, names(resources)

    resources, ours = of("one", "eu-central-1")
    _, second_stack = of("two", "eu-central-1")
    _, second_region = of("one", "ap-northeast-1")
    _, long = of("s" * 40, "ap-northeast-1")
    wrong = []
    for place, name in ours.items():
        if second_stack[place] == name:
            wrong.append(f"{place} is {name} in every stack")
        kind = resources[place[0]]["Type"]
        if kind.startswith(GLOBAL) and second_region[place] == name:
            wrong.append(f"{place} is {name} in every Region")
        if kind.startswith(("AWS::Lambda::", "AWS::CloudFront::")) and len(long[place]) > LONGEST_NAME:
            wrong.append(f"{place} has more than {LONGEST_NAME} characters in a stack whose name has 40")
    return wrong


def reachable(document: dict, start: str) -> set[str]:
    """What CloudFormation makes before a resource: all that it refers to, and what those refer to."""
    seen, ahead = set(), [start]
    while ahead:
        resource = document["Resources"][ahead.pop()]
        depends = resource.get("DependsOn", [])
        said = regional.named(resource.get("Properties", {})) | set(checks.as_list(depends)) | attributes(resource)
        fresh = (said & set(document["Resources"])) - seen
        seen |= fresh
        ahead += fresh
    return seen


def attributes(value) -> set[str]:
    """The resources whose attributes a value names."""
    if isinstance(value, list):
        return set().union(*map(attributes, value))
    if not isinstance(value, dict):
        return set()
    found = set().union(*map(attributes, value.values()))
    if "Fn::GetAtt" in value:
        argument = value["Fn::GetAtt"]
        found.add(argument[0] if isinstance(argument, list) else argument.split(".")[0])
    return found


def races(document: dict) -> list[str]:
    """What would be made beside something that it needs, and so fail in a fresh account now and then."""
    wrong = []
    for name, resource in document["Resources"].items():
        before = reachable(document, name)
        kind = resource["Type"]
        if kind == "AWS::ApiGateway::Stage":
            wrong += [f"{name} may come before {one}" for one in ("ApiGatewayAccount", "ApiLog") if one not in before]
        if kind == "AWS::ApiGateway::Account" and "ApiGatewayAccountRole" not in before:
            wrong.append(f"{name} may come before its role")
        if kind == "AWS::Lambda::Function" and not {f"{name}Role", f"{name}Log"} <= before:
            wrong.append(f"{name} may come before its role or its log group")
        if kind == "AWS::WAFv2::WebACLAssociation" and not any(
            document["Resources"][one]["Type"] == "AWS::ApiGateway::Stage" for one in before
        ):
            wrong.append(f"{name} may come before the stage")
    return wrong


# What may stand before `.amazonaws.com` whatever the partition is called.
SERVICES = {"apigateway", "cloudfront", "codedeploy", "delivery.logs", "events", "lambda", "logs", "scheduler"}


def another_partition(value, partition: str, suffix: str) -> list[str]:
    """ARNs of another partition than this, and hosts of another cloud."""
    wrong = []
    text = json.dumps(value)
    wrong += [found for found in re.findall(r"arn:[a-z-]+:", text) if found != f"arn:{partition}:"]
    for host in re.findall(r"[a-z0-9.-]*\.(?:amazonaws|aws\.amazon|amazonaws-[a-z-]+)\.[a-z.]+", text):
        service = host.removesuffix(".amazonaws.com")
        if service not in SERVICES and not host.endswith(f".{suffix}") and f".{suffix}." not in host:
            wrong.append(host)
    return wrong


class Names(unittest.TestCase):
    def test_two_stacks_and_two_regions_want_no_name_twice(self):
        for kind, choices in CHOICES.items():
            for name, chosen in choices.items():
                with self.subTest(kind=kind, stack=name):
                    self.assertEqual(clashing_names(sam.transformed(kind), chosen), [])

    def test_a_name_that_another_stack_has_is_found(self):
        for logical_id, place, value, said in (
            ("EdgeFunction", "Name", "viewer-request", "in every stack"),
            ("EdgeFunction", "Name", {"Fn::Sub": "${AWS::StackName}-viewer-request"}, "in every Region"),
            ("EdgeFunction", "Name", {"Fn::Sub": "${AWS::StackName}-${AWS::Region}-viewer-request"}, "more than 64"),
            ("Dashboard", "DashboardName", {"Ref": "AWS::StackName"}, "in every Region"),
            ("AuthorizerRole", "RoleName", {"Fn::Sub": "${AWS::StackName}-authorizer"}, "in every Region"),
            ("Table", "TableName", "cloakroom", "in every stack"),
            ("Jwks", "FunctionName", "jwks", "in every stack"),
        ):
            document = sam.transformed("rest")
            document["Resources"][logical_id]["Properties"][place] = value
            self.assertIn(said, "\n".join(clashing_names(document, {})), logical_id)
        for logical_id, config in (
            ("PublicCachePolicy", "CachePolicyConfig"),
            ("ApiOriginRequestPolicy", "OriginRequestPolicyConfig"),
            ("ApiResponseHeadersPolicy", "ResponseHeadersPolicyConfig"),
            ("SpaResponseHeadersPolicy", "ResponseHeadersPolicyConfig"),
            ("SpaAccess", "OriginAccessControlConfig"),
        ):
            document = sam.transformed("rest")
            document["Resources"][logical_id]["Properties"][config]["Name"] = {"Ref": "AWS::StackName"}
            self.assertIn("in every Region", "\n".join(clashing_names(document, {"Spa": "true"})), logical_id)


class Order(unittest.TestCase):
    def test_nothing_is_made_before_what_it_needs(self):
        for kind in sam.TEMPLATES:
            self.assertEqual(races(sam.transformed(kind)), [])

    def test_a_race_is_found(self):
        for change, said in (
            (lambda made: made["Api"].pop("DependsOn"), "before ApiGatewayAccount"),
            (lambda made: made["ApiGatewayAccount"]["Properties"].update(CloudWatchRoleArn="arn"), "before its role"),
            (lambda made: made["Jwks"]["Properties"].clear(), "its role or its log group"),
            (lambda made: made["WebAclAssociation"]["Properties"].update(ResourceArn="arn"), "before the stage"),
        ):
            document = sam.transformed("rest")
            change(document["Resources"])
            self.assertIn(said, "\n".join(races(document)))


class Partitions(unittest.TestCase):
    def stacks(self):
        """Every choice in every partition where it can be made."""
        for partition, (region, suffix, console) in PARTITIONS.items():
            pseudo = {"AWS::Partition": partition, "AWS::Region": region, "AWS::URLSuffix": suffix}
            for kind, choices in CHOICES.items():
                for chosen in choices.values():
                    given = json.loads(json.dumps(chosen).replace("arn:aws:", f"arn:{partition}:"))
                    yield partition, suffix, console, kind, given, pseudo

    def test_arns_and_hosts_are_those_of_the_partition(self):
        for partition, suffix, _, kind, chosen, pseudo in self.stacks():
            resources = sam.resolve(sam.transformed(kind), chosen, pseudo=pseudo)
            self.assertEqual(another_partition(resources, partition, suffix), [], partition)

    def test_the_consoles_host_is_that_of_the_partition(self):
        for partition, _, console, kind, chosen, pseudo in self.stacks():
            document = sam.transformed(kind)
            resolver = sam.Resolver(document, sam.parameters(document, chosen), pseudo=pseudo)
            url = resolver(document["Outputs"]["Dashboard"]["Value"])
            board = resolver(document["Resources"]["Dashboard"]["Properties"]["DashboardName"])
            region = pseudo["AWS::Region"]
            self.assertEqual(url, f"https://{console}/cloudwatch/home?region={region}#dashboards:name={board}")

    def test_another_partitions_arn_or_host_is_found(self):
        for value, found in (
            ("arn:aws:iam::aws:policy/x", ["arn:aws:"]),
            ("x.execute-api.cn-north-1.amazonaws.com", ["x.execute-api.cn-north-1.amazonaws.com"]),
            ("https://console.aws.amazon.com/x", ["console.aws.amazon.com"]),
            ({"Service": "lambda.amazonaws.com"}, []),
            ("arn:aws-cn:iam::aws:policy/x", []),
            ("x.execute-api.cn-north-1.amazonaws.com.cn", []),
        ):
            self.assertEqual(another_partition([value], "aws-cn", "amazonaws.com.cn"), found)


class WithoutTheEdge(unittest.TestCase):
    """`infra/regional.yaml` and `infra/regional-http-api.yaml`."""

    maxDiff = None

    def test_the_files_are_what_make_generate_writes(self):
        for name in regional.VARIANTS:
            written = (sam.ROOT / "infra" / name).read_text()
            self.assertTrue(written == regional.render(name), f"infra/{name} is not up to date: run `make generate`")

    def test_they_name_nothing_of_cloudfront(self):
        for path in sam.REGIONAL.values():
            types = {resource["Type"] for resource in sam.load_file(path)["Resources"].values()}
            self.assertEqual([kind for kind in types if "CloudFront" in kind], [])
            self.assertNotIn("cloudfront.amazonaws.com", path.read_text())

    def test_they_make_what_the_whole_templates_make_without_the_edge(self):
        more = {"rest": {"WafRateLimit": "2000", "WafLogs": "true"}, "http": HOST | OWN_DOMAIN}
        for kind, path in sam.REGIONAL.items():
            variant = sam.transform(sam.load_file(path))
            for chosen in ({}, {"SigningMode": "data-key"}, {"MacKeys": "B,A", "SigningKeys": "A,B"}, more[kind]):
                chosen = WITHOUT_EDGE[kind] | chosen
                whole = sam.resolve(sam.transformed(kind), chosen | {"Edge": "none"})
                ours = sam.resolve(variant, chosen)
                self.assertEqual(comparable(ours), comparable(whole))

    def test_they_ask_for_nothing_that_makes_no_difference(self):
        for kind, path in sam.REGIONAL.items():
            whole, ours = sam.load(kind), sam.load_file(path)
            gone = set(whole["Parameters"]) - set(ours["Parameters"])
            self.assertLessEqual(set(regional.FIXED), gone)
            used = regional.named([ours["Resources"], ours["Globals"], ours["Conditions"], ours["Rules"], ours["Outputs"]])
            self.assertEqual(set(ours["Parameters"]) - used, set())
            self.assertEqual(set(ours["Conditions"]) - used, set())

    def test_a_rest_api_still_needs_its_domain(self):
        variant = sam.load_file(sam.REGIONAL["rest"])
        self.assertIn("it needs a DomainName", "\n".join(sam.violations(variant, {})))
        self.assertEqual(sam.violations(variant, WITHOUT_EDGE["rest"]), [])

    def test_each_is_clean_for_the_regions_that_it_is_for(self):
        whole = ["eu-central-1", "us-east-1", "ap-southeast-2"]
        others = ["us-gov-west-1", "us-gov-east-1", "cn-north-1", "cn-northwest-1", "eusc-de-east-1", "eu-central-1"]
        for paths, regions in ((sam.TEMPLATES, whole), (sam.REGIONAL, others)):
            files = [str(path.relative_to(sam.ROOT)) for path in paths.values()]
            done = command("cfn-lint", "--regions", *regions, "--", *files)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for path in sam.REGIONAL.values():
            name = str(path.relative_to(sam.ROOT))
            for region in ("us-gov-west-1", "cn-north-1"):
                done = command("sam", "validate", "--lint", "--region", region, "--template-file", name)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = command("cfn-lint", "--regions", "us-east-1", "--", "infra/edge-logs.yaml")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_the_whole_templates_are_refused_where_the_edge_is_not(self):
        # Otherwise nobody would need the variants.
        for region in ("us-gov-west-1", "cn-north-1"):
            done = command("cfn-lint", "--regions", region, "--", "infra/template.yaml")
            self.assertIn("'AWS::CloudFront::Function' does not exist", done.stdout)


def comparable(resources: dict) -> dict:
    """Without the names that SAM gives to a deployment and to versions by what is written in the template,
    which is less here."""
    text = json.dumps(resources, sort_keys=True)
    text = re.sub(r"(ApiDeployment|Version|Configuration)[0-9a-f]{10}\b", r"\1", text)
    return json.loads(re.sub(r"(RestApi deployment id: )?\b[0-9a-f]{40}\b", "", text))


class Buckets(unittest.TestCase):
    def places(self):
        yield "infra/edge-logs.yaml", edge_logs()
        for kind, chosen in (("rest", {"Spa": "true"}), ("http", HOST | OWN_DOMAIN | ORIGIN | {"Spa": "true"})):
            yield kind, sam.resolve(sam.transformed(kind), chosen)

    def test_no_bucket_is_open_or_answers_in_the_clear(self):
        for name, resources in self.places():
            self.assertTrue(sam.of_type(resources, "AWS::S3::Bucket"), name)
            self.assertEqual(open_buckets(resources), [], name)
            self.assertEqual(checks.too_wide(resources), [], name)

    def test_an_open_bucket_is_found(self):
        def statement(made):
            (policy,) = sam.of_type(made, "AWS::S3::BucketPolicy").values()
            return policy["PolicyDocument"]["Statement"][-1]

        def bucket(made):
            return next(iter(sam.of_type(made, "AWS::S3::Bucket").values()))

        for change in (
            lambda made: statement(made).update(Action=["s3:GetObject", "s3:PutObject", "s3:ListBucket"]),
            lambda made: statement(made).update(Effect="Allow"),
            lambda made: statement(made).update(Principal={"AWS": "arn"}),
            lambda made: statement(made)["Resource"].pop(),
            lambda made: statement(made)["Resource"].pop(0),
            lambda made: statement(made).update(Condition={"Bool": {"aws:SecureTransport": "true"}}),
            lambda made: statement(made)["Condition"].update(StringEquals={"aws:SourceAccount": "1"}),
            lambda made: bucket(made)["PublicAccessBlockConfiguration"].pop("BlockPublicAcls"),
            lambda made: bucket(made).pop("OwnershipControls"),
            lambda made: bucket(made).pop("BucketEncryption"),
        ):
            for name, resources in self.places():
                change(resources)
                self.assertTrue(open_buckets(resources), name)

    def test_the_log_of_the_edge_comes_from_one_distribution_and_holds_no_secret(self):
        resources = edge_logs()
        (delivery,) = sam.of_type(resources, "AWS::Logs::Delivery").values()
        secret = {"cs-uri-query", "cs-uri-stem", "cs(Cookie)", "cs(Referer)", "x-forwarded-for"}
        self.assertTrue(delivery["RecordFields"])
        self.assertEqual(secret & set(delivery["RecordFields"]), set())
        (policy,) = sam.of_type(resources, "AWS::S3::BucketPolicy").values()
        allowed = policy["PolicyDocument"]["Statement"][0]
        (source,) = sam.of_type(resources, "AWS::Logs::DeliverySource").values()
        self.assertEqual(allowed["Condition"]["StringEquals"]["aws:SourceAccount"], sam.ACCOUNT)
        self.assertTrue(
            allowed["Condition"]["ArnEquals"]["aws:SourceArn"].endswith(f":delivery-source:{source['Name']}")
        )
        self.assertTrue(source["ResourceArn"].endswith(":distribution/E2EXAMPLE"))


def edge_logs() -> dict:
    document = sam.load_file(sam.ROOT / "infra/edge-logs.yaml")
    resolver = sam.Resolver(document, {"DistributionId": "E2EXAMPLE", "LogRetention": "30"}, pseudo={"AWS::Region": "us-east-1"})
    return {
        name: {"Type": resource["Type"], "Properties": resolver(resource["Properties"])}
        for name, resource in document["Resources"].items()
    }


def open_buckets(resources: dict) -> list[str]:
    """Buckets that others may read, that are not encrypted, or that answer plain HTTP."""
    wrong = []
    closed = {"BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"}
    for name, bucket in sam.of_type(resources, "AWS::S3::Bucket").items():
        block = bucket.get("PublicAccessBlockConfiguration", {})
        if {key for key, value in block.items() if value is True} != closed:
            wrong.append(f"{name} may be made public")
        if bucket.get("OwnershipControls") != {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}:
            wrong.append(f"{name} may have ACLs")
        if "BucketEncryption" not in bucket:
            wrong.append(f"{name} is not encrypted")
        policies = [
            policy["PolicyDocument"]["Statement"]
            for policy in sam.of_type(resources, "AWS::S3::BucketPolicy").values()
            if policy["Bucket"] == f"<{name}>"
        ]
        refusal = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [f"<{name}.Arn>", f"<{name}.Arn>/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        if not any(
            {key: part for key, part in statement.items() if key != "Sid"} == refusal
            for statements in policies
            for statement in statements
        ):
            wrong.append(f"{name} answers plain HTTP")
    return wrong


class WafLogs(unittest.TestCase):
    # What a client may send that is a secret. The rest of infra/headers.txt says who somebody is.
    SECRET = {
        "authorization",
        "cookie",
        "dpop",
        "referer",
        "x-amzn-oidc-accesstoken",
        "x-amzn-oidc-data",
        "x-cloakroom-jwt",
        "x-cloakroom-token",
        "x-internal-token",
        "x-origin-verify",
        "x_cloakroom_jwt",
    }

    def logging(self, **chosen: str) -> dict:
        resources = sam.resolve(sam.transformed("rest"), {"WafLogs": "true"} | chosen)
        return sam.of_type(resources, "AWS::WAFv2::LoggingConfiguration")

    def test_they_are_there_when_they_are_asked_for_and_there_is_a_web_acl(self):
        self.assertEqual(len(self.logging()), 1)
        self.assertEqual(self.logging(WafLogs="false"), {})
        self.assertEqual(self.logging(Edge="none", WafRateLimit="0", **HOST, **OWN_DOMAIN), {}, "no web ACL, no log")
        self.assertEqual(len(self.logging(Edge="none", WafRateLimit="100", **HOST, **OWN_DOMAIN)), 1)

    def test_they_hold_what_is_refused_and_nothing_that_could_be_a_token(self):
        (logging,) = self.logging().values()
        self.assertEqual(logging["LoggingFilter"]["DefaultBehavior"], "DROP")
        (kept,) = logging["LoggingFilter"]["Filters"]
        self.assertEqual(kept["Conditions"], [{"ActionCondition": {"Action": "BLOCK"}}])
        redacted = logging["RedactedFields"]
        self.assertIn({"QueryString": {}}, redacted)
        self.assertEqual({one["SingleHeader"]["Name"] for one in redacted if "SingleHeader" in one}, self.SECRET)
        # A new credential must be here as well.
        credentials = {name for name in checks.FORGEABLE["rest"] if re.search("auth.*n$|cookie|token|jwt|verify|oidc-data", name)}
        self.assertLessEqual(credentials, self.SECRET)

    def test_the_log_group_is_one_that_waf_writes_to(self):
        resources = sam.resolve(sam.transformed("rest"), {"WafLogs": "true"})
        self.assertTrue(resources["WafLog"]["Properties"]["LogGroupName"].startswith("aws-waf-logs-"))
        (place,) = resources["WafLogging"]["Properties"]["LogDestinationConfigs"]
        self.assertEqual(place, f"arn:aws:logs:{sam.REGION}:{sam.ACCOUNT}:log-group:<WafLog>")


class Concurrency(unittest.TestCase):
    def reserved(self, **chosen: str) -> dict:
        resources = sam.resolve(sam.transformed("rest"), chosen)
        properties = {function: resources[function]["Properties"] for function in sam.FUNCTIONS}
        return {function: given.get("ReservedConcurrentExecutions") for function, given in properties.items()}

    def test_each_function_that_anybody_may_call_can_be_limited_alone(self):
        nothing = {"Authorizer": None, "Login": None, "Token": None, "Jwks": None}
        none = {"ReservedConcurrency": "0"}
        self.assertEqual(self.reserved(), nothing | {"Authorizer": "100"})
        self.assertEqual(self.reserved(**none), nothing)
        self.assertEqual(self.reserved(LoginReservedConcurrency="20", **none), nothing | {"Login": "20"})
        self.assertEqual(self.reserved(TokenReservedConcurrency="30", **none), nothing | {"Token": "30"})


if __name__ == "__main__":
    unittest.main()
