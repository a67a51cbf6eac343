"""What a deploy puts into force: CloudFormation's part, played on the transformed template.

API Gateway calls each function's alias `live`, which follows a version, and a REST API's stage, which
follows a deployment. `Stack.deploy` says what both are after a deploy. `missing_in_content` finds
parameters that can change a function and are not numbered. `TAKEN_AWAY` are templates that lack one
of the three things that make a change take effect, for the tests here and on the emulated cloud.
"""

import copy
import json
import re
from unittest import mock

import template as sam

# What is no part of a version: the function or its alias has it at once.
AT_ONCE = ("ReservedConcurrentExecutions",)
NAMES = re.compile(r"\$\{([A-Za-z0-9_.:]+)\}")
NUMBERING = ("Release", "ReleaseProfile", "Releases")


def content(template: dict) -> list:
    """What is numbered: the arguments of `Fn::Sub`, its text and its variables."""
    return template["Resources"]["Release"]["Properties"]["Content"]["Fn::Sub"]


class Walk:
    """Parameters by which a value is made, through conditions and through other resources."""

    def __init__(self, template: dict):
        self.template = template
        self.parameters: set[str] = set()
        self.seen: set[str] = set()

    def name(self, name: str) -> None:
        name = name.split(".", 1)[0]
        if name in self.template["Parameters"]:
            self.parameters.add(name)
        elif name in self.template["Resources"] and name not in (*self.seen, *NUMBERING):
            self.seen.add(name)
            self(self.template["Resources"][name])

    def condition(self, name: str) -> None:
        self(self.template["Conditions"][name])

    def __call__(self, value) -> None:
        if isinstance(value, list):
            for part in value:
                self(part)
        if not isinstance(value, dict):
            return
        for key, part in value.items():
            match key:
                case "Ref":
                    self.name(part)
                case "Fn::GetAtt":
                    self.name(part if isinstance(part, str) else part[0])
                case "Fn::Sub":
                    text, variables = part if isinstance(part, list) else (part, {})
                    for name in NAMES.findall(text):
                        if name not in variables:
                            self.name(name)
                    self(variables)
                case "Fn::If":
                    self.condition(part[0])
                    self(part[1:])
                case "DeploymentPreference":
                    # How the alias moves, and no property of a function.
                    pass
                case "Condition" if isinstance(part, str):
                    self.condition(part)
                case _:
                    self(part)


def reaching(template: dict) -> set[str]:
    """Parameters by which a function is made, or anything that a function refers to."""
    walk = Walk(template)
    walk(template["Globals"]["Function"])
    for function in sam.FUNCTIONS:
        walk(template["Resources"][function])
    return walk.parameters


def missing_in_content(template: dict) -> set[str]:
    """Parameters that can change a function, and whose values are not in what is numbered."""
    return reaching(template) - set(NAMES.findall(content(template)[0]))


def without_name(template: dict, name: str) -> dict:
    """A template whose Content does not have `name`."""
    template = copy.deepcopy(template)
    text, _ = content(template)
    lines = [line for line in text.splitlines() if "${" + name + "}" not in line]
    assert len(lines) < len(text.splitlines()), name
    content(template)[0] = "\n".join(lines)
    return template


def without_release_number(template: dict) -> dict:
    """A template whose functions and versions do not say the release."""
    template = copy.deepcopy(template)
    for function in sam.FUNCTIONS:
        properties = template["Resources"][function]["Properties"]
        properties["Description"] = "As it was"
        del properties["VersionDescription"]
    return template


def without_publishing_layer(template: dict) -> dict:
    """A template in which another configuration gives the versions no other logical id."""
    template = copy.deepcopy(template)
    del template["Resources"]["Configuration"]["Properties"]["PublishLambdaVersion"]
    return template


def without_layer_link(template: dict) -> dict:
    """A template in which nothing leads from another configuration to other versions: neither the
    layer's own property nor the release number."""
    return without_name(without_publishing_layer(template), "Configuration")


def without_redeploy(template: dict) -> dict:
    """A template whose REST API is deployed only when its document is written anew."""
    template = copy.deepcopy(template)
    del template["Resources"]["Api"]["Properties"]["AlwaysDeploy"]
    return template


TAKEN_AWAY = {
    "release number": without_release_number,
    "layer link": without_layer_link,
    "redeploy": without_redeploy,
}


class Stack:
    """A stack that is deployed several times."""

    def __init__(self, template: dict):
        self.template = template
        self.now = 0
        self.numbered: list[dict] = []
        # By function: $LATEST, the published versions, and what makes CloudFormation publish.
        self.latest: dict[str, dict] = {}
        self.live: dict[str, dict] = {}
        self.numbers: dict[str, int] = {}
        self.published_as: dict[str, tuple] = {}
        self.deployment: str | None = None
        self.api: dict | None = None
        self.api_asked: dict = {}

    def deploy(self, chosen: dict | None = None, uploads: dict | None = None) -> None:
        """`sam deploy` with these parameters, and these objects in the bucket."""
        self.now += 60
        # AlwaysDeploy takes the second for the id, and two transforms here are within one.
        with mock.patch("samtranslator.model.apigateway.time") as clock:
            clock.time.return_value = self.now
            transformed = sam.transform(self.template, uploads, sam.parameters(self.template, chosen))
        attributes = {("Release", None): self.number(transformed, chosen)}
        resources = sam.resolve(transformed, chosen, attributes)
        for function in sam.FUNCTIONS:
            self.update(function, resources)
        self.api_asked = resources["Api"]["Properties"]
        deployments = [name for name, one in resources.items() if one["Type"] == "AWS::ApiGateway::Deployment"]
        # The stage of an HTTP API deploys by itself.
        deployment = deployments[0] if deployments else None
        if deployment is None or deployment != self.deployment:
            self.api = self.api_asked
        self.deployment = deployment

    def number(self, transformed: dict, chosen: dict | None) -> int:
        """All properties of a release are create-only: others are another number."""
        asked = sam.resolve(transformed, chosen)["Release"]["Properties"]
        if not self.numbered or self.numbered[-1] != asked:
            self.numbered.append(asked)
        return len(self.numbered)

    def update(self, function: str, resources: dict) -> None:
        asked = {
            name: value for name, value in resources[function]["Properties"].items() if name not in AT_ONCE
        }
        changed = asked != self.latest.get(function)
        self.latest[function] = asked
        ((version, properties),) = (
            (name, one["Properties"])
            for name, one in resources.items()
            if one["Type"] == "AWS::Lambda::Version" and name.startswith(f"{function}Version")
        )
        publish = (version, json.dumps(properties, sort_keys=True))
        if publish == self.published_as.get(function):
            return
        if not changed:
            raise ValueError(f"A version for this Lambda function exists: {function} has not changed")
        self.published_as[function] = publish
        self.live[function] = asked
        self.numbers[function] = self.numbers.get(function, 0) + 1

    def behind(self) -> list[str]:
        """What was asked for and is not in force."""
        found = [function for function in sam.FUNCTIONS if self.live[function] != self.latest[function]]
        return found + (["Api"] if self.api != self.api_asked else [])
