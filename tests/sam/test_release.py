"""Every change takes effect: the release number, the layer's link and the API's deployment. Each
test is also shown a template that lacks one of them."""

import copy
import json
import re
import unittest

import checks
import release
import template as sam
from test_template import CHOICES, HOST

EDGELESS = {"rest": {}, "http": {"Edge": "none"}}


def another(name: str, parameter: dict, value: str) -> str:
    """Another value that the parameter may have."""
    candidates = [
        *map(str, parameter.get("AllowedValues", ())),
        str(int(value) + 1) if value.isdigit() else "",
        "other",
        "https://other.example.com",
        "MFkwEw",
        "arn:aws:kms:eu-central-1:111122223333:key/5678",
        "arn:aws:elasticloadbalancing:eu-central-1:111122223333:listener/app/other/1/2",
        "0a1b2c3d-0000-4000-8000-0000000000ff",
    ]
    for one in candidates:
        pattern = parameter.get("AllowedPattern", ".*")
        if one != value and re.fullmatch(pattern, one) and one in map(str, parameter.get("AllowedValues", [one])):
            return one
    raise ValueError(f"nothing else is allowed for {name}")


class InContent(unittest.TestCase):
    """Whatever can change a function is in what is numbered."""

    def test_every_parameter_that_can_reach_a_function_is_numbered(self):
        for kind in sam.TEMPLATES:
            self.assertEqual(release.missing_in_content(sam.load(kind)), set(), kind)

    def test_a_parameter_that_is_not_numbered_is_found(self):
        for kind in sam.TEMPLATES:
            written = sam.load(kind)
            names = release.reaching(written)
            self.assertLessEqual({"PublicUrl", "NotBefore", "LogLevel", "SigningKeys", "RestoredTable", "MemorySize"}, names)
            self.assertNotIn("ThrottleRate", names)
            for name in names:
                self.assertEqual(release.missing_in_content(release.without_name(written, name)), {name}, kind)

    def test_the_walk_goes_through_every_function_of_a_template(self):
        ways = {
            "Ref": {"Ref": "New"},
            "Sub": {"Fn::Sub": "x-${New}"},
            "Sub with a variable": {"Fn::Sub": ["${X}", {"X": {"Ref": "New"}}]},
            "If": {"Fn::If": ["HasNew", "a", "b"]},
            "a branch of If": {"Fn::If": ["HasEdge", "a", {"Ref": "New"}]},
            "a condition of a condition": {"Fn::If": ["HasNoNew", "a", "b"]},
            "Join": {"Fn::Join": [",", ["a", {"Ref": "New"}]]},
            "FindInMap": {"Fn::FindInMap": ["Algorithms", {"Ref": "New"}, "KeySpec"]},
            "a resource": {"Ref": "NewResource"},
            "an attribute": {"Fn::GetAtt": ["NewResource", "Arn"]},
            "a resource that may not exist": {"Fn::GetAtt": "NewConditional.Arn"},
            "a dynamic reference": {"Fn::Sub": "{{resolve:secretsmanager:s:SecretString:::${New}}}"},
        }
        places = (
            lambda written: written["Globals"]["Function"]["Environment"]["Variables"],
            lambda written: written["Resources"]["Jwks"]["Properties"]["Environment"]["Variables"],
            lambda written: written["Resources"]["Login"]["Properties"],
        )
        for way, value in ways.items():
            for place in places:
                written = sam.load("rest")
                written["Parameters"]["New"] = {"Type": "String", "Default": ""}
                written["Conditions"]["HasNew"] = {"Fn::Equals": [{"Ref": "New"}, "1"]}
                written["Conditions"]["HasNoNew"] = {"Fn::Not": [{"Condition": "HasNew"}]}
                written["Resources"]["NewResource"] = {"Type": "X", "Properties": {"A": [{"B": {"Ref": "New"}}]}}
                written["Resources"]["NewConditional"] = {"Type": "X", "Condition": "HasNew"}
                place(written)["NEW"] = value
                with self.subTest(way):
                    self.assertEqual(release.missing_in_content(written), {"New"})

    def test_whatever_changes_a_function_changes_the_content(self):
        """Not only parameters: another condition, another mapping, another resource in its place."""
        for kind, choices in CHOICES.items():
            for name, chosen in choices.items():
                document = sam.transformed(kind)
                before = made(document, chosen)
                noticed = 0
                for what, after in variations(document, chosen):
                    for function in sam.FUNCTIONS:
                        if after[function] != before[function]:
                            noticed += 1
                            self.assertNotEqual(after["Release"], before["Release"], f"{kind}, {name}: {what}")
                self.assertGreater(noticed, 40)

    def test_a_resource_that_is_not_numbered_is_found(self):
        document = sam.transformed("rest")
        document = release.without_name(document, "UsedMacKeys")
        before = made(document, {})
        after = made(document, {}, {("MacKeyA", "Arn"): "another"})
        self.assertNotEqual(after["Login"], before["Login"])
        self.assertEqual(after["Release"], before["Release"])

    def test_what_is_numbered_holds_no_secret(self):
        for kind in sam.TEMPLATES:
            said = json.dumps(release.content(sam.load(kind)))
            self.assertNotIn("resolve:", said)
            for name, parameter in sam.load(kind)["Parameters"].items():
                self.assertFalse(parameter.get("NoEcho") and "${" + name + "}" in said, name)


def made(document: dict, chosen: dict, attributes: dict | None = None) -> dict:
    """The functions, as far as a version has them, and what is numbered."""
    resolver = sam.Resolver(document, sam.parameters(document, chosen), attributes)
    found = {}
    for name in (*sam.FUNCTIONS, "Release"):
        properties = document["Resources"][name]["Properties"]
        found[name] = resolver({key: part for key, part in properties.items() if key not in release.AT_ONCE})
    return found


def variations(document: dict, chosen: dict):
    """What the functions and the content would be if one thing were another."""
    values = sam.parameters(document, chosen)
    for name, parameter in document["Parameters"].items():
        yield name, made(document, chosen | {name: another(name, parameter, values[name])})
    for name, condition in document["Conditions"].items():
        changed = document | {"Conditions": document["Conditions"] | {name: {"Fn::Not": [condition]}}}
        try:
            yield f"not {name}", made(changed, chosen)
        except ValueError as error:
            # It refers to what does not exist then: CloudFormation refuses it.
            assert "does not exist" in str(error), error
    for name in set(document["Resources"]) - set(release.NUMBERING):
        for attribute in (None, "Arn"):
            yield f"another {name}", made(document, chosen, {(name, attribute): "another"})


class Deploys(unittest.TestCase):
    """Two deploys, transformed by SAM's own translator: what is in force after the second."""

    def stack(self, kind: str, change=lambda written: written) -> release.Stack:
        stack = release.Stack(change(sam.load(kind)))
        stack.deploy(EDGELESS[kind])
        self.assertEqual(stack.behind(), [])
        return stack

    def test_nothing_changed_and_nothing_is_published(self):
        for kind in sam.TEMPLATES:
            stack = self.stack(kind)
            for _ in range(2):
                stack.deploy(EDGELESS[kind])
            self.assertEqual(set(stack.numbers.values()), {1})
            self.assertEqual(len(stack.numbered), 1)
            stack.deploy(EDGELESS[kind] | {"ThrottleRate": "7"})
            self.assertEqual(set(stack.numbers.values()), {1})
            self.assertEqual(stack.behind(), [])

    def test_each_parameter_alone_takes_effect(self):
        for kind in sam.TEMPLATES:
            written = sam.load(kind)
            deployed = self.stack(kind)
            for name, parameter in written["Parameters"].items():
                stack = copy.deepcopy(deployed)
                value = another(name, parameter, sam.parameters(written, EDGELESS[kind])[name])
                stack.deploy(EDGELESS[kind] | {name: value})
                self.assertEqual(stack.behind(), [], f"{kind}: {name}")

    def test_parameters_configuration_and_code_together(self):
        for kind in sam.TEMPLATES:
            stack = self.stack(kind)
            stack.deploy(EDGELESS[kind] | HOST, {"Configuration": "new", "Token": "new"})
            self.assertEqual(stack.behind(), [])
            self.assertEqual(set(stack.numbers.values()), {2})
            # And back to where it was.
            stack.deploy(EDGELESS[kind])
            self.assertEqual(stack.behind(), [])
            self.assertEqual(set(stack.numbers.values()), {3})

    def test_code_of_one_function_publishes_that_one(self):
        for kind in sam.TEMPLATES:
            stack = self.stack(kind)
            stack.deploy(EDGELESS[kind], {"Token": "new"})
            self.assertEqual(stack.behind(), [])
            self.assertEqual(stack.numbers, {"Authorizer": 1, "Login": 1, "Token": 2, "Jwks": 1})

    def test_without_the_release_number_a_parameter_does_not_take_effect(self):
        for kind in sam.TEMPLATES:
            for chosen in (HOST, {"NotBefore": "1"}, {"LogLevel": "warn"}, {"MacKeys": "A,B"}):
                stack = self.stack(kind, release.without_release_number)
                stack.deploy(EDGELESS[kind] | chosen)
                self.assertIn("Authorizer", stack.behind())

    def test_without_the_layers_link_the_configuration_does_not_take_effect(self):
        for kind in sam.TEMPLATES:
            stack = self.stack(kind, release.without_layer_link)
            stack.deploy(EDGELESS[kind], {"Configuration": "new"})
            self.assertEqual(stack.behind(), list(sam.FUNCTIONS))

    def test_either_link_of_the_layer_is_enough(self):
        """Two, so that no edit of Content takes the configuration out of force."""
        for kind in sam.TEMPLATES:
            for change in (
                release.without_publishing_layer,
                lambda written: release.without_name(written, "Configuration"),
            ):
                stack = self.stack(kind, change)
                stack.deploy(EDGELESS[kind], {"Configuration": "new"})
                self.assertEqual(stack.behind(), [])

    def test_the_configuration_gives_versions_another_id(self):
        def versions(written, uploads):
            return set(sam.of_type(sam.resolve(sam.transform(written, uploads)), "AWS::Lambda::Version"))

        written = sam.load("rest")
        self.assertEqual(versions(written, {}) & versions(written, {"Configuration": "new"}), set())
        self.assertEqual(versions(written, {}), versions(written, {}))
        broken = release.without_publishing_layer(written)
        self.assertEqual(versions(broken, {}), versions(broken, {"Configuration": "new"}))

    def test_without_the_redeploy_the_api_stays_what_it_was(self):
        for chosen in ({"BackendUrl": "https://other.example.com"}, {"AuthorizerTtl": "5"}, {"AllowedOrigin": "https://a.example"}):
            self.assertEqual(self.after("rest", chosen).behind(), [])
            self.assertEqual(self.after("rest", chosen, release.without_redeploy).behind(), ["Api"])
            self.assertEqual(self.after("http", chosen).behind(), [], "its stage deploys by itself")

    def after(self, kind, chosen, change=lambda written: written):
        stack = self.stack(kind, change)
        stack.deploy(EDGELESS[kind] | chosen)
        return stack

    def test_a_number_that_the_function_does_not_say_is_refused_by_lambda(self):
        def silent(written):
            written["Resources"]["Jwks"]["Properties"]["Description"] = "Public keys"
            return written

        # Nothing of this function changes, and yet there would be another version of it.
        with self.assertRaisesRegex(ValueError, "A version for this Lambda function exists: Jwks"):
            self.after("rest", {"NotBefore": "1"}, silent)

    def test_versions_layers_and_releases_stay_for_an_alias_to_go_back_to(self):
        for kind in sam.TEMPLATES:
            for name, resource in sam.transformed(kind)["Resources"].items():
                if resource["Type"] in (
                    "AWS::AppConfig::Application",
                    "AWS::AppConfig::ConfigurationProfile",
                    "AWS::AppConfig::HostedConfigurationVersion",
                    "AWS::Lambda::LayerVersion",
                    "AWS::Lambda::Version",
                ):
                    self.assertEqual(resource.get("DeletionPolicy"), "Retain", name)
                    if resource["Type"] != "AWS::Lambda::LayerVersion":
                        self.assertEqual(resource.get("UpdateReplacePolicy"), "Retain", name)

    def test_an_http_apis_stage_deploys_by_itself(self):
        (stage,) = sam.of_type(sam.resolve(sam.transformed("http"), EDGELESS["http"]), "AWS::ApiGatewayV2::Stage").values()
        self.assertIs(stage["AutoDeploy"], True)

    def test_lambda_takes_the_descriptions(self):
        for kind in sam.TEMPLATES:
            resources = sam.resolve(sam.transformed(kind), EDGELESS[kind], {("Release", None): 10**9})
            for function in sam.FUNCTIONS:
                self.assertLessEqual(len(resources[function]["Properties"]["Description"]), 256)
            for version in sam.of_type(resources, "AWS::Lambda::Version").values():
                self.assertEqual(version["Description"], f"Release {10**9}")


if __name__ == "__main__":
    unittest.main()
