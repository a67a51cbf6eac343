"""The templates, transformed and resolved, held to the rules of `checks.py`; and each rule held to
finding what it is there to find, in a copy that was broken in one point."""

import copy
import itertools
import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import checks
import template as sam

HOST = {"PublicUrl": "https://app.example.com"}
OWN_DOMAIN = {"DomainName": "app.example.com", "DomainCertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/1"}
ORIGIN = {
    "OriginDomainName": "api.example.com",
    "OriginCertificateArn": "arn:aws:acm:eu-central-1:111122223333:certificate/2",
}
CORS = {"AllowedOrigin": "https://other.example.com"}
LISTENER = "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/services/1/2"
LINK = {"VpcLinkId": "vpclink1", "BackendListenerArn": LISTENER, "BackendServerName": "services.example.com"}
VERSION = "0a1b2c3d-0000-4000-8000-00000000000e"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd"
OPERATOR = "arn:aws:iam::111122223333:role/operator"

# Stacks that a team may choose; the configuration's edge goes with the parameter.
CHOICES = {
    "rest": {
        "as it is": {},
        "with everything": HOST
        | OWN_DOMAIN
        | ORIGIN
        | CORS
        | {
            "ClientKeyAlgorithm": "PS256",
            "OperatorRoleArn": OPERATOR,
            "ProvisionedConcurrency": "2",
            "SigningKeys": "A,B",
            "MacKeys": "B,A",
            "DeploymentPreference": "Canary10Percent5Minutes",
            "Spa": "true",
            "VpcLinkId": "vpclink1",
            "WafRateLimit": "2000",
            "OriginSecretVersion": VERSION,
        },
        "with kept keys and a kept table": {"SigningKeyArns": KEY, "MacKeyArns": f"{KEY}1,{KEY}2", "TableName": "kept"},
        "without the edge": HOST | OWN_DOMAIN | {"Edge": "none"},
        "signing in the functions": {"SigningMode": "data-key", "OperatorRoleArn": OPERATOR},
        "the same, deployed once more": {"SigningMode": "data-key", "KeysetPublicKey": "MFkw", "KeysetSerial": "3"},
    },
    "http": {
        "behind the edge": HOST
        | OWN_DOMAIN
        | ORIGIN
        | CORS
        | {"Spa": "true", "OriginSecretVersion": VERSION}
        | LINK,
        "without the edge": {"Edge": "none"},
        "without the edge, with a domain": HOST | OWN_DOMAIN | {"Edge": "none"},
    },
}


def settings_for(chosen: dict) -> dict:
    return sam.config() | {"edge": chosen.get("Edge", "cloudfront")}


def stacks():
    for kind, choices in CHOICES.items():
        template = sam.transformed(kind)
        for name, chosen in choices.items():
            yield kind, name, template, sam.resolve(template, chosen), settings_for(chosen)


def command(*arguments: str) -> subprocess.CompletedProcess:
    bin_directory = os.path.dirname(sys.executable)
    environment = os.environ | {
        "PATH": bin_directory + os.pathsep + os.environ["PATH"],
        "SAM_CLI_TELEMETRY": "0",
        "AWS_DEFAULT_REGION": sam.REGION,
    }
    return subprocess.run(
        [os.path.join(bin_directory, arguments[0]), *arguments[1:]],
        cwd=sam.ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


class Templates(unittest.TestCase):
    maxDiff = None

    def test_both_are_valid_and_lint_clean(self):
        for path in sam.TEMPLATES.values():
            name = str(path.relative_to(sam.ROOT))
            for arguments in (("sam", "validate", "--lint", "--template-file", name), ("cfn-lint", name)):
                with self.subTest(arguments):
                    done = command(*arguments)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_rule_holds_for_every_stack_that_may_be_chosen(self):
        for kind, name, template, resources, settings in stacks():
            with self.subTest(kind=kind, stack=name):
                self.assertEqual(checks.everything(kind, template, resources, settings), [])
                self.assertEqual(checks.frail_table(template, resources), [])

    def test_a_rest_api_refuses_in_our_words_with_cors_only_where_it_was_asked_for(self):
        for chosen, cors in (({}, None), (CORS, CORS["AllowedOrigin"])):
            resources = sam.resolve(sam.transformed("rest"), chosen)
            self.assertEqual(checks.unhelpful_refusals(resources, cors), [])
            preflights = [path for path, item in checks.body(resources)["paths"].items() if "options" in item]
            self.assertEqual(bool(preflights), cors is not None)
            self.assertTrue(all(path.startswith("/api/") for path in preflights))

    def test_every_environment_of_samconfig_agrees_with_the_configuration(self):
        settings = sam.config()
        for environment, chosen in sam.samconfig().items():
            with self.subTest(environment):
                values = sam.parameters(sam.load("rest"), chosen)
                resources = sam.resolve(sam.transformed("rest"), chosen)
                self.assertEqual(checks.everything("rest", sam.load("rest"), resources, settings), [])
                self.assertEqual(values["Edge"], settings.get("edge", "none"))
                self.assertEqual(int(values["AuthorizerTtl"]), sam.gateway_ttl(settings))
                jwt = settings.get("jwt", {})
                self.assertEqual(values["JwtAlgorithmA"], jwt.get("algorithm", "RS256"))
                self.assertEqual(values["SigningMode"], jwt.get("mode", "kms"))
                ours = {one.get("client_authentication") for one in settings["identity_providers"]}
                algorithm = settings.get("client_key", {}).get("algorithm", "RS256")
                self.assertEqual(values["ClientKeyAlgorithm"], algorithm if "private_key_jwt" in ours else "none")

    def test_there_are_the_three_environments(self):
        self.assertEqual(set(sam.samconfig()), {"default", "staging", "prod"})

    def test_secrets_of_the_configuration_are_where_the_login_function_may_read(self):
        path = sam.parameters(sam.load("rest"))["SecretsPath"]
        for provider in sam.config()["identity_providers"]:
            self.assertRegex(provider["client_secret"], f"^(ssm:/{path}/|secretsmanager:{path}/)")

    def test_an_issuer_has_no_path(self):
        for kind in sam.TEMPLATES:
            written = sam.load(kind)
            for good in ("https://app.example.com", "https://d1.cloudfront.net", "https://app.example.com:8443"):
                sam.parameters(written, {"PublicUrl": good})
            for bad in (
                "https://api.execute-api.eu-central-1.amazonaws.com/live",
                "https://app.example.com/",
                "http://app.example.com",
                "https://app.example.com?x",
                "https://user@app.example.com",
                "app.example.com",
                "",
            ):
                with self.assertRaises(ValueError, msg=bad):
                    sam.parameters(written, {"PublicUrl": bad})

    def test_d73_cors_is_for_one_origin(self):
        for kind in sam.TEMPLATES:
            sam.parameters(sam.load(kind), CORS)
            for bad in ("*", "null", "http://other.example.com", "https://*.example.com", "https://a.example,https://b.example"):
                with self.assertRaises(ValueError, msg=bad):
                    sam.parameters(sam.load(kind), {"AllowedOrigin": bad})

    def test_services_are_not_reached_in_the_clear(self):
        for kind in sam.TEMPLATES:
            written = sam.load(kind)
            for good in ("https://services.example.com", "https://services.example.com:8443/base"):
                sam.parameters(written, {"BackendUrl": good})
            for bad in ("http://services.example.com", "HTTP://services.example.com", "services.example.com"):
                with self.assertRaises(ValueError, msg=bad):
                    sam.parameters(written, {"BackendUrl": bad})

    def test_a_choice_that_cannot_work_is_refused_before_anything_is_made(self):
        for kind, choices in CHOICES.items():
            for name, chosen in choices.items():
                self.assertEqual(sam.violations(sam.load(kind), chosen), [], f"{kind}: {name}")
        for kind, chosen, said in (
            ("rest", {"Edge": "none"}, "it needs a DomainName"),
            ("rest", {"DomainName": "app.example.com"}, "needs DomainCertificateArn"),
            ("rest", {"OriginDomainName": "api.example.com"}, "needs OriginCertificateArn"),
            ("rest", OWN_DOMAIN | ORIGIN | {"Edge": "none"}, "is for CloudFront"),
            ("rest", OWN_DOMAIN | {"Edge": "none", "Spa": "true"}, "needs CloudFront"),
            ("http", {}, "WAF cannot guard an HTTP API"),
            ("http", {"Edge": "none", "Spa": "true"}, "needs CloudFront"),
            ("http", LINK | {"Edge": "none", "BackendListenerArn": ""}, "needs BackendListenerArn"),
            ("http", LINK | {"Edge": "none", "BackendServerName": ""}, "needs BackendServerName"),
        ):
            self.assertIn(said, "\n".join(sam.violations(sam.load(kind), chosen)), f"{kind}: {chosen}")

    def test_functions_are_told_the_issuer_and_what_their_settings_know(self):
        settings = (sam.ROOT / "crates/gateway/src/settings.rs").read_text()
        known = set(re.findall(r'"(CLOAKROOM_\w+)"', settings))
        needed = {
            "Authorizer": {"CLOAKROOM_TABLE", "CLOAKROOM_SIGNING_KEYS", "CLOAKROOM_MAC_KEYS", "CLOAKROOM_NOT_BEFORE"},
            "Login": {"CLOAKROOM_TABLE", "CLOAKROOM_MAC_KEYS", "CLOAKROOM_NOT_BEFORE"},
            "Token": {"CLOAKROOM_TABLE", "CLOAKROOM_SIGNING_KEYS", "CLOAKROOM_MAC_KEYS", "CLOAKROOM_NOT_BEFORE"},
            "Jwks": {"CLOAKROOM_SIGNING_KEYS"},
        }
        for kind in sam.TEMPLATES:
            resources = sam.resolve(sam.transformed(kind), HOST | ({"Edge": "none"} if kind == "http" else {}))
            for function in sam.FUNCTIONS:
                environment = sam.function_environment(resources, function)
                self.assertLessEqual(set(environment), known)
                self.assertLessEqual(needed[function], set(environment))
                self.assertEqual(environment["CLOAKROOM_ISSUER"], HOST["PublicUrl"])
                self.assertEqual(environment["CLOAKROOM_CONFIG"], "/opt/cloakroom.toml")

    def test_a_restored_table_takes_the_place_of_the_stacks_own(self):
        for kind in sam.TEMPLATES:
            chosen = {"Edge": "none", "SigningMode": "data-key", "RestoredTable": "cloakroom-restored"}
            resources = sam.resolve(sam.transformed(kind), chosen)
            self.assertIn("Table", resources, "it stays, to be looked at")
            for function in sam.FUNCTIONS:
                environment = sam.function_environment(resources, function)
                self.assertEqual(environment["CLOAKROOM_TABLE"], "cloakroom-restored")
            # The version that still runs while this is deployed uses the stack's own.
            restored = f"arn:aws:dynamodb:{sam.REGION}:{sam.ACCOUNT}:table/cloakroom-restored"
            places = {
                place
                for _, statement in checks.policies(resources)
                for action in checks.as_list(statement["Action"])
                if action.startswith("dynamodb:")
                for place in checks.as_list(statement["Resource"])
            }
            self.assertEqual(places, {restored, "<Table.Arn>"})

    def test_another_origin_secret_reaches_all_who_know_it(self):
        references = re.compile(r"{{resolve:secretsmanager:[^}]*}}")
        for kind, chosen in (("rest", {}), ("http", HOST | OWN_DOMAIN | ORIGIN)):
            template = sam.transformed(kind)
            for version in ("", VERSION):
                resources = sam.resolve(template, chosen | {"OriginSecretVersion": version})
                found = references.findall(json.dumps(resources))
                self.assertEqual(len(found), 2, kind)
                self.assertEqual([version in each and "::" in each for each in found], [version != ""] * 2, kind)

    def test_while_the_origin_secret_changes_both_are_accepted_and_one_is_shown(self):
        old, new = VERSION, VERSION[:-1] + "f"
        value = "{{{{resolve:secretsmanager:<OriginSecret>:SecretString:::{}}}}}".format
        for kind, chosen in (("rest", {}), ("http", HOST | OWN_DOMAIN | ORIGIN)):
            template = sam.transformed(kind)
            for first, second in ((old, new), (new, old)):
                resources = sam.resolve(template, chosen | {"OriginSecretVersion": first, "OriginSecretAlso": second})
                config = resources["Distribution"]["Properties"]["DistributionConfig"]
                (shown,) = (origin for origin in config["Origins"] if origin["Id"] == "api")
                self.assertEqual([one["HeaderValue"] for one in shown["OriginCustomHeaders"]], [value(first)])
                if kind == "http":
                    known = sam.function_environment(resources, "Authorizer")["CLOAKROOM_ORIGIN_SECRET"]
                    self.assertEqual(known, f"{value(first)},{value(second)}")
                else:
                    statement = resources["WebAcl"]["Properties"]["Rules"][0]["Statement"]["NotStatement"]
                    matches = checks.accepted(statement["Statement"])
                    self.assertEqual([one["SearchString"] for one in matches], [value(first), value(second)])
                self.assertEqual(checks.open_hostname(kind, resources), [])

    def test_a_vpc_link_leads_to_the_services(self):
        rest = sam.resolve(sam.transformed("rest"), {"VpcLinkId": "vpclink1"})
        http = sam.resolve(sam.transformed("http"), LINK | {"Edge": "none"})
        for resources, uri in ((rest, "https://services.example.com/api/orders"), (http, LISTENER)):
            integration = checks.routes(resources)["GET /api/orders"][checks.INTEGRATION]
            self.assertEqual(integration["connectionType"], "VPC_LINK")
            self.assertEqual(integration["connectionId"], "vpclink1")
            self.assertEqual(integration["uri"], uri)
        self.assertEqual(integration["tlsConfig"], {"serverNameToVerify": "services.example.com"})

    def test_functions_run_on_what_was_asked_for(self):
        for kind, architecture in itertools.product(sam.TEMPLATES, ("arm64", "x86_64")):
            resources = sam.resolve(sam.transformed(kind), {"Architecture": architecture, "Edge": "none"})
            (layer,) = sam.of_type(resources, "AWS::Lambda::LayerVersion")
            for function in sam.FUNCTIONS:
                properties = resources[function]["Properties"]
                self.assertEqual(properties["Runtime"], "provided.al2023")
                self.assertEqual(properties["Handler"], "bootstrap")
                self.assertEqual(properties["Architectures"], [architecture])
                self.assertEqual(properties["Layers"], [f"<{layer}>"])
                self.assertEqual(properties["Role"], f"<{function}Role.Arn>")
                self.assertEqual(properties["LoggingConfig"], {"LogGroup": f"<{function}Log>"})
                self.assertEqual(properties["TracingConfig"], {"Mode": "Active"})

    def test_the_layer_holds_the_configuration_and_nothing_else(self):
        held = sorted(path.name for path in sam.CONFIG.parent.iterdir())
        self.assertEqual(held, ["cloakroom.toml"])
        self.assertEqual(sam.load("rest")["Resources"]["Configuration"]["Properties"]["ContentUri"], "../config")

    def test_each_function_is_built_from_its_own_crate(self):
        for kind in sam.TEMPLATES:
            resources = sam.load(kind)["Resources"]
            for function in sam.FUNCTIONS:
                name = function.lower()
                self.assertEqual(resources[function]["Properties"]["CodeUri"], f"../functions/{name}")
                metadata = resources[function]["Metadata"]
                self.assertEqual(metadata["BuildMethod"], "rust-cargolambda")
                self.assertEqual(metadata["BuildProperties"], {"Binary": name})

    def test_sams_cache_sees_a_change_anywhere_in_the_workspace(self):
        # It goes by the files of CodeUri alone, following links: without functions/*/.workspace a
        # change in crates/ would deploy yesterday's program.
        for name in ("authorizer", "login", "token", "jwks"):
            folder = sam.ROOT / "functions" / name
            seen = {
                (Path(where) / file).resolve()
                for where, _, files in os.walk(folder, followlinks=True)
                for file in files
            }
            expected = {sam.ROOT / "Cargo.toml", sam.ROOT / "Cargo.lock", folder / "src/main.rs"}
            expected |= set((sam.ROOT / "crates").rglob("*.rs"))
            self.assertLessEqual(expected, seen)
        for environment, section in sam.samconfig_sections().items():
            build = section["build"]["parameters"]
            self.assertTrue(build["cached"] and build["parallel"], environment)

    def test_the_edge_function_is_the_file_that_is_tested(self):
        source = (sam.ROOT / "infra/edge/viewer-request.js").read_text()
        for kind in sam.TEMPLATES:
            code, names = sam.load(kind)["Resources"]["EdgeFunction"]["Properties"]["FunctionCode"]["Fn::Sub"]
            self.assertEqual(code, source)
            allowed = {"Ref": "EdgeAllowHeaders"}
            self.assertEqual(names, {"PublicOrigin": {"Ref": "PublicUrl"}, "AllowHeaders": allowed, "ApiKind": kind})
        # CloudFront takes 10 KB, and the longest host name is 253 characters.
        self.assertLess(len(source.encode()) + 300, 10_240)

    def test_the_edge_allows_the_headers_of_the_configuration(self):
        wanted = " ".join(sam.config().get("edge_allow_headers", []))
        for environment, chosen in sam.samconfig().items():
            self.assertEqual(chosen.get("EdgeAllowHeaders", ""), wanted, environment)
        pattern = sam.load("rest")["Parameters"]["EdgeAllowHeaders"]["AllowedPattern"]
        for good in ("", "x-tenant", "x-acme-* x-tenant"):
            self.assertTrue(re.fullmatch(pattern, good), good)
        for bad in ("X-Tenant", "x'", "x-a  x-b", "x-a,x-b", "*-x", "x\\", "${A}", "x-a "):
            self.assertFalse(re.fullmatch(pattern, bad), bad)

    def test_the_two_templates_share_everything_but_the_api(self):
        rest, http = sam.load("rest"), sam.load("http")
        own = {
            "rest": {"WebAcl", "WebAclAssociation", "WafLog", "WafLogging", "ApiGatewayAccount", "ApiGatewayAccountRole"},
            "http": set(),
        }
        api = {"Api", "ApiDomain", "ApiMapping", "Dashboard", "Distribution", "EdgeFunction"}
        # The two kinds of API count under other names.
        api |= {"ApiErrorsAlarm", "ApiErrorsHourlyAlarm", "NoTrafficAlarm"}
        self.assertEqual(set(rest["Resources"]) - own["rest"], set(http["Resources"]) - own["http"])
        # A REST API has WAF to tell CloudFront from others.
        del http["Resources"]["Authorizer"]["Properties"]["Environment"]["Variables"]["CLOAKROOM_ORIGIN_SECRET"]
        for name in set(http["Resources"]) - api:
            self.assertEqual(rest["Resources"][name], http["Resources"][name], name)
        for name, parameter in http["Parameters"].items():
            if name in ("BackendListenerArn", "BackendServerName"):
                continue
            mine, theirs = dict(rest["Parameters"][name]), dict(parameter)
            if name in ("OriginDomainName", "VpcLinkId"):
                del mine["Description"], theirs["Description"]
            self.assertEqual(mine, theirs, name)
        for section in ("Mappings", "Globals"):
            self.assertEqual(rest[section], http[section])
        for name, condition in http["Conditions"].items():
            self.assertEqual(rest["Conditions"][name], condition, name)


class Keys(unittest.TestCase):
    """Keys come and go by two parameters; what signs is never in doubt."""

    def environment(self, function: str, **chosen: str) -> dict:
        return sam.function_environment(sam.resolve(sam.transformed("rest"), chosen), function)

    def test_the_first_signing_key_signs_and_the_other_stays_published(self):
        for chosen, first, others in (
            ("A", "A", []),
            ("A,B", "A", ["B"]),
            ("B,A", "B", ["A"]),
            ("B", "B", []),
        ):
            resources = sam.resolve(sam.transformed("rest"), {"SigningKeys": chosen})
            keys = {name for name in sam.of_type(resources, "AWS::KMS::Key") if name.startswith("Signing")}
            self.assertEqual(keys, {f"SigningKey{slot}" for slot in [first, *others]})
            said = ",".join(f"<SigningKey{slot}.Arn>" for slot in [first, *others])
            for function in ("Authorizer", "Token", "Jwks"):
                self.assertEqual(sam.function_environment(resources, function)["CLOAKROOM_SIGNING_KEYS"], said)
            for slot in [first, *others]:
                statements = resources[f"SigningKey{slot}"]["Properties"]["KeyPolicy"]["Statement"]
                signs = [one for one in statements if one["Action"] == "kms:Sign"]
                # Both: a policy changes before the functions do.
                self.assertEqual(len(signs), 1, f"{chosen}: {slot}")

    def test_the_first_mac_key_seals_and_the_other_still_opens(self):
        for chosen in ("A", "A,B", "B,A", "B"):
            said = ",".join(f"<MacKey{slot}.Arn>" for slot in chosen.split(","))
            for function in ("Authorizer", "Login", "Token"):
                self.assertEqual(self.environment(function, MacKeys=chosen)["CLOAKROOM_MAC_KEYS"], said)

    def test_keys_are_of_the_kind_that_the_algorithm_needs(self):
        for algorithm, spec, signs, message in (
            ("RS256", "RSA_2048", "RSASSA_PKCS1_V1_5_SHA_256", "DIGEST"),
            ("PS256", "RSA_2048", "RSASSA_PSS_SHA_256", "DIGEST"),
            ("ES256", "ECC_NIST_P256", "ECDSA_SHA_256", "DIGEST"),
            ("EdDSA", "ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "RAW"),
        ):
            key = sam.resolve(sam.transformed("rest"), {"JwtAlgorithmA": algorithm})["SigningKeyA"]["Properties"]
            self.assertEqual((key["KeySpec"], key["KeyUsage"]), (spec, "SIGN_VERIFY"))
            (sign,) = (one for one in key["KeyPolicy"]["Statement"] if one["Action"] == "kms:Sign")
            self.assertEqual(
                sign["Condition"]["StringEquals"], {"kms:SigningAlgorithm": signs, "kms:MessageType": message}
            )

    def test_no_function_signs_with_the_key_that_vouches_for_data_keys(self):
        resources = sam.resolve(sam.transformed("rest"), {"SigningMode": "data-key"})
        keys = set(sam.of_type(resources, "AWS::KMS::Key"))
        self.assertEqual(keys, {"KeysetKey", "MacKeyA", "WrappingKey"}, "no other key could sign")
        for statement in resources["KeysetKey"]["Properties"]["KeyPolicy"]["Statement"]:
            self.assertNotIn("kms:Sign", checks.as_list(statement["Action"]))


class Broken(unittest.TestCase):
    """A rule that finds nothing in a broken template holds nothing."""

    def stack(self, kind="rest", **chosen):
        chosen = chosen or ({"Edge": "none"} if kind == "http" else {})
        template = sam.transformed(kind)
        return template, sam.resolve(template, chosen), settings_for(chosen)

    def found(self, change, kind="rest", check=None, **chosen):
        """What is found in a stack after a change, and was not before."""
        template, resources, settings = self.stack(kind, **chosen)
        look = check or (lambda: checks.everything(kind, template, resources, settings))
        before = look() if check is None else check(template, resources)
        self.assertEqual(before, [])
        change(resources)
        after = look() if check is None else check(template, resources)
        self.assertTrue(after, "the change was not noticed")
        return "\n".join(after)

    def paths(self, resources):
        return checks.body(resources)["paths"]

    def test_d73_a_route_without_an_authorizer(self):
        def add(resources):
            self.paths(resources)["/api/new"] = copy.deepcopy(self.paths(resources)["/api/orders"])
            self.paths(resources)["/api/new"]["get"]["security"] = []

        for kind in sam.TEMPLATES:
            self.assertIn("GET /api/new has no authorizer", self.found(add, kind))

    def test_a_route_whose_authorizer_is_optional_or_unknown(self):
        for security in ([{"cloakroom": []}, {}], [{"nobody": []}], []):

            def loosen(resources, security=security):
                self.paths(resources)["/api/orders"]["get"]["security"] = security

            self.assertIn("GET /api/orders has no authorizer", self.found(loosen))

        def forget(resources):
            del self.paths(resources)["/api/orders"]["get"]["security"]

        self.assertIn("GET /api/orders has no authorizer", self.found(forget))

    def test_a_route_that_only_the_api_or_only_the_policy_knows(self):
        def add(resources):
            self.paths(resources)["/api/new"] = copy.deepcopy(self.paths(resources)["/api/orders"])

        def remove(resources):
            del self.paths(resources)["/api/orders"]

        self.assertIn("GET /api/new is in the API and not in the policy", self.found(add))
        self.assertIn("GET /api/orders is in the policy and not in the API", self.found(remove))

    def test_d73_a_ttl_that_contradicts_the_policy(self):
        def longer(resources):
            scheme = checks.schemes(resources)["cloakroom"]["x-amazon-apigateway-authorizer"]
            scheme["authorizerResultTtlInSeconds"] = 300

        self.assertIn("answers are kept for 300 s", self.found(longer))
        self.assertIn("answers are kept for 300 s", self.found(longer, Edge="none", **HOST, **OWN_DOMAIN))

        template, resources, settings = self.stack()
        settings = settings | {"revocation": {"max_latency": 10}}
        self.assertIn("30 s", "\n".join(checks.stale("rest", resources, settings)))
        self.assertTrue(checks.stale("rest", resources, settings | {"edge": "none"}))

    def test_answers_kept_by_too_little(self):
        for kind, chosen in (("rest", {}), ("http", HOST | ORIGIN)):
            for source in checks.IDENTITY[kind]:

                def fewer(resources, source=source):
                    scheme = checks.schemes(resources)["cloakroom"]["x-amazon-apigateway-authorizer"]
                    sources = scheme["identitySource"].split(", ")
                    scheme["identitySource"] = ", ".join(one for one in sources if one != source)

                self.assertIn("answers are kept by", self.found(fewer, kind, **chosen))

    def test_a_dpop_route_whose_answers_are_kept(self):
        _, resources, settings = self.stack()
        settings["routes"][0]["dpop"] = True
        self.assertIn("DPoP", "\n".join(checks.not_the_policy(resources, settings)))
        self.paths(resources)["/api/orders"]["get"]["security"] = [{"cloakroom-each-time": []}]
        self.assertEqual(checks.not_the_policy(resources, settings), [])

    def test_a_header_that_passes_as_the_client_wrote_it(self):
        for kind in sam.TEMPLATES:
            _, resources, _ = self.stack(kind)
            names = checks.routes(resources)["GET /api/orders"][checks.INTEGRATION]["requestParameters"]
            for name in [name for name in names if "header." in name]:

                def forget(resources, name=name):
                    integration = self.paths(resources)["/api/orders"]["get"][checks.INTEGRATION]
                    del integration["requestParameters"][name]

                self.assertIn("GET /api/orders", self.found(forget, kind))

    def test_a_header_that_only_the_template_knows(self):
        for kind, target in (("rest", "integration.request.header.X-New"), ("http", "remove:header.x-new")):

            def add(resources, target=target):
                self.paths(resources)["/api/orders"]["get"][checks.INTEGRATION]["requestParameters"][target] = "''"

            self.assertIn("x-new is not in infra/headers.txt", self.found(add, kind))

    def test_a_jwt_from_the_client(self):
        def forward(resources):
            integration = self.paths(resources)["/api/orders"]["get"][checks.INTEGRATION]
            key = "integration.request.header.Authorization"
            integration["requestParameters"][key] = "method.request.header.Authorization"

        self.assertIn("the JWT does not arrive", self.found(forward))

    def test_a_permission_that_is_missing_or_another_apis(self):
        for name in ("AuthorizerPermission", "AuthPermission", "OauthPermission", "WellKnownPermission"):
            self.assertIn("may not call", self.found(lambda resources, name=name: resources.pop(name)))

        def everybody(resources):
            resources["AuthPermission"]["Properties"].pop("SourceArn")

        self.assertIn("may be called by others", self.found(everybody))

    def test_a_wildcard_action(self):
        for action in ("dynamodb:*", "kms:*", "*", "dynamodb:Get*", "s3:?etObject"):

            def widen(resources, action=action):
                policy = resources["AuthorizerRole"]["Properties"]["Policies"][0]["PolicyDocument"]
                policy["Statement"][2]["Action"] = [action]

            self.assertIn(f"the action {action}", self.found(widen))

            def widen_key(resources, action=action):
                resources["MacKeyA"]["Properties"]["KeyPolicy"]["Statement"][0]["Action"].append(action)

            self.assertIn(f"the action {action}", self.found(widen_key))

    def test_a_statement_about_everything_or_everybody(self):
        def statement(resources, index=2):
            return resources["AuthorizerRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"][index]

        self.assertIn("on everything", self.found(lambda r: statement(r).update(Resource="*")))
        self.assertIn("on every item", self.found(lambda r: statement(r).pop("Condition")))

        def turn_around(resources):
            found = statement(resources)
            found["NotAction"] = found.pop("Action")

        self.assertIn("says what is not meant", self.found(turn_around))

        def anybody(resources):
            resources["SigningKeyA"]["Properties"]["KeyPolicy"]["Statement"][1]["Principal"] = "*"

        self.assertIn("by everybody", self.found(anybody))

    def test_a_key_that_iam_alone_could_open(self):
        def hand_out(resources):
            resources["SigningKeyA"]["Properties"]["KeyPolicy"]["Statement"][0]["Action"].append("kms:Sign")

        self.assertIn("whoever IAM allows ['kms:Sign'] may", self.found(hand_out))

        def unconditional(resources):
            resources["SigningKeyA"]["Properties"]["KeyPolicy"]["Statement"][1].pop("Condition")

        self.assertIn("by any algorithm", self.found(unconditional))

        def any_system(resources):
            resources["WrappingKey"]["Properties"]["KeyPolicy"]["Statement"][1].pop("Condition")

        self.assertIn("for any system", self.found(any_system, SigningMode="data-key"))

    def test_a_log_of_a_header(self):
        for kind, place in (("rest", "AccessLogSetting"), ("http", "AccessLogSettings")):
            for variable in (
                "$request.header.Authorization",
                "$context.requestOverride.header.x",
                "$context.path",
                "$context.identity.sourceIp",
                "$context.authorizer.authorization",
                "$context.authorizer.jwt",
            ):

                def log(resources, variable=variable, place=place):
                    (stage,) = (one for one in resources.values() if place in one["Properties"])
                    settings = stage["Properties"][place]
                    settings["Format"] = json.dumps(json.loads(settings["Format"]) | {"x": variable})

                self.assertIn(f"logs {variable}", self.found(log, kind))

    def test_execution_logs(self):
        def trace(resources):
            (stage,) = sam.of_type(resources, "AWS::ApiGateway::Stage").values()
            stage["MethodSettings"][0]["DataTraceEnabled"] = True

        self.assertIn("execution logs are on", self.found(trace))

    def test_a_refusal_in_other_words(self):
        def answers(resources):
            return checks.body(resources)["x-amazon-apigateway-gateway-responses"]

        look = lambda _, resources: checks.unhelpful_refusals(resources)  # noqa: E731
        for name, change in (
            ("UNAUTHORIZED", lambda one: one["responseParameters"].pop("gatewayresponse.header.WWW-Authenticate")),
            ("AUTHORIZER_FAILURE", lambda one: one.update(statusCode=500)),
            ("AUTHORIZER_FAILURE", lambda one: one["responseParameters"].pop("gatewayresponse.header.Retry-After")),
            ("DEFAULT_5XX", lambda one: one["responseParameters"].pop("gatewayresponse.header.Cache-Control")),
            (
                "DEFAULT_4XX",
                lambda one: one["responseParameters"].update(
                    {"gatewayresponse.header.Access-Control-Allow-Origin": "'*'"}
                ),
            ),
        ):
            self.assertIn(name, self.found(lambda r, n=name, c=change: c(answers(r)[n]), check=look))

    def test_a_way_past_the_edge(self):
        self.assertIn("tell CloudFront from others", self.found(lambda r: r.pop("WebAclAssociation")))

        def guess(resources):
            rule = resources["WebAcl"]["Properties"]["Rules"][0]["Statement"]["NotStatement"]["Statement"]
            rule["ByteMatchStatement"]["SearchString"] = "open sesame"

        self.assertIn("tell CloudFront from others", self.found(guess))

        def origin(resources):
            return resources["Distribution"]["Properties"]["DistributionConfig"]["Origins"][0]

        for change in (
            lambda r: origin(r).pop("OriginCustomHeaders"),
            lambda r: origin(r)["OriginCustomHeaders"][0].update(HeaderValue="open sesame"),
            lambda r: sam.function_environment(r, "Authorizer").pop("CLOAKROOM_ORIGIN_SECRET"),
            lambda r: sam.function_environment(r, "Authorizer").update(CLOAKROOM_ORIGIN_SECRET="open sesame"),
        ):
            self.assertIn("tell CloudFront from others", self.found(change, "http", **HOST, **ORIGIN))

        def count(resources):
            resources["WebAcl"]["Properties"]["Rules"][0]["Action"] = {"Count": {}}

        self.assertIn("tell CloudFront from others", self.found(count))

        def reopen(resources):
            checks.body(resources).pop("servers")

        for kind in sam.TEMPLATES:
            self.assertIn("its own hostname is open", self.found(reopen, kind, **HOST, **ORIGIN))

    def test_an_edge_that_keeps_answers_or_is_not_asked(self):
        def behaviour(resources, index=0):
            return resources["Distribution"]["Properties"]["DistributionConfig"]["CacheBehaviors"][index]

        self.assertIn("answers are kept", self.found(lambda r: behaviour(r).update(CachePolicyId="other")))
        self.assertIn("past the edge", self.found(lambda r: behaviour(r).update(FunctionAssociations=[])))
        self.assertIn("in the clear", self.found(lambda r: behaviour(r).update(ViewerProtocolPolicy="allow-all")))

    def test_an_edge_that_keeps_errors(self):
        def errors(resources):
            return resources["Distribution"]["Properties"]["DistributionConfig"]["CustomErrorResponses"]

        for kind, chosen in (("rest", {}), ("http", HOST | OWN_DOMAIN | ORIGIN)):
            for index, code in enumerate(sorted(checks.KEPT_ERRORS)):
                said = f"an error {code} is kept"
                self.assertIn(said, self.found(lambda r, i=index: errors(r).pop(i), kind, **chosen))
                self.assertIn(said, self.found(lambda r, i=index: errors(r)[i].pop("ErrorCachingMinTTL"), kind, **chosen))

        def page(resources):
            errors(resources)[2] |= {"ResponsePagePath": "/index.html", "ResponseCode": 200}

        self.assertIn("an error 404 is answered with a page", self.found(page))

    def test_a_frail_table(self):
        look = checks.frail_table
        for name in ("TimeToLiveSpecification", "PointInTimeRecoverySpecification", "DeletionProtectionEnabled"):
            self.found(lambda r, n=name: r["Table"]["Properties"].pop(n), check=look)

    def test_an_alarm_that_nobody_feeds(self):
        def misspell(resources):
            resources["RefreshReuseAlarm"]["Properties"]["MetricName"] = "RefreshReuses"

        self.assertIn("nobody feeds", self.found(misspell))

        def another_stack(resources):
            resources["RefreshReuseAlarm"]["Properties"]["Dimensions"][0]["Value"] = "another"

        self.assertIn("nobody feeds", self.found(another_stack))

        def in_math(resources):
            (answered,) = (one for one in resources["AuthorizerErrorsAlarm"]["Properties"]["Metrics"] if one["Id"] == "answered")
            answered["MetricStat"]["Metric"]["MetricName"] = "ErrorAnswer"

        self.assertIn("nobody feeds", self.found(in_math))

        def no_function(resources):
            resources["TokenFailedAlarm"]["Properties"]["Dimensions"][0]["Value"] = "token"

        self.assertIn("nobody feeds", self.found(no_function))

        def other_kind(resources):
            resources["ApiErrorsAlarm"]["Properties"]["Metrics"][1]["MetricStat"]["Metric"]["MetricName"] = "5xx"

        self.assertIn("nobody feeds", self.found(other_kind))

        def by_function(resources):
            dimensions = resources["CsrfRefusalsAlarm"]["Properties"]["Dimensions"]
            dimensions.append({"Name": "function", "Value": "login"})

        self.assertIn("nobody feeds", self.found(by_function))


if __name__ == "__main__":
    unittest.main()
