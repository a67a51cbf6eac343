"""The templates as CloudFormation would see them: transformed by SAM's own translator, and with
every intrinsic function resolved for one choice of parameters.

Start at `load` (what is written), `transform` (what SAM makes of it) and `resolve` (what a stack
with these parameters would be made of).
"""

import copy
import json
import logging
import os
import re
import shlex
import tomllib
from pathlib import Path

from cfnlint.decode.cfn_yaml import loads as load_cloudformation
from samtranslator.parser.parser import Parser
from samtranslator.translator.managed_policy_translator import ManagedPolicyLoader
from samtranslator.translator.translator import Translator

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = {"rest": ROOT / "infra/template.yaml", "http": ROOT / "infra/http-api.yaml"}
# The same without the edge, as `make generate` writes them.
REGIONAL = {"rest": ROOT / "infra/regional.yaml", "http": ROOT / "infra/regional-http-api.yaml"}
CONFIG = ROOT / "config/cloakroom.toml"
FUNCTIONS = ("Authorizer", "Login", "Token", "Jwks")

REGION = "eu-central-1"
ACCOUNT = "111122223333"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": None,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/cloakroom/0a1b2c3d-0000-4000-8000-000000000001",
    "AWS::StackName": "cloakroom",
    "AWS::URLSuffix": "amazonaws.com",
}
# What has no default.
GIVEN = {"BackendUrl": "https://services.example.com"}

# The translator asks for a Region, and boto3 reads it from nowhere else.
os.environ.setdefault("AWS_DEFAULT_REGION", REGION)
logging.getLogger("samtranslator").setLevel(logging.ERROR)


class Absent:
    """`AWS::NoValue`: whatever holds it loses it."""


ABSENT = Absent()


def config() -> dict:
    """The configuration that is deployed with the templates."""
    return tomllib.loads(CONFIG.read_text())


def gateway_ttl(settings: dict) -> int:
    """`Config::gateway_ttl` of the domain: how long the gateway may keep an answer."""
    if settings.get("edge", "none") == "none":
        return 0
    return min(settings.get("revocation", {}).get("max_latency", 60) // 2, 3600)


def load(kind: str) -> dict:
    """A template as it is written, with `!Ref` as `{"Ref": …}`."""
    return load_file(TEMPLATES[kind])


def load_file(path: Path) -> dict:
    return json.loads(json.dumps(load_cloudformation(path.read_text())))


def transform(template: dict, uploads: dict | None = None, values: dict | None = None) -> dict:
    """What SAM makes of a template. Code is said to be in a bucket, because the translator wants it
    so: `uploads` are the names of its objects by logical id, where they matter. `values` are those of
    the parameters."""
    template = copy.deepcopy(template)
    for name, resource in template["Resources"].items():
        for place in ("CodeUri", "ContentUri"):
            if place in resource.get("Properties", {}):
                resource["Properties"][place] = "s3://code/" + (uploads or {}).get(name, "code.zip")
    translator = Translator({}, Parser(), boto_session=None)
    translator.sam_parser = Parser()
    return json.loads(json.dumps(translator.translate(template, values or {})))


def parameters(template: dict, chosen: dict | None = None) -> dict:
    """The parameters of a stack: defaults, and what was chosen."""
    chosen = GIVEN | (chosen or {})
    values = {}
    for name, parameter in template["Parameters"].items():
        value = str(chosen.get(name, parameter.get("Default", "")))
        allowed = parameter.get("AllowedValues")
        if allowed and value not in map(str, allowed):
            raise ValueError(f"{name} may not be {value}")
        pattern = parameter.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            raise ValueError(f"{name} may not be {value}")
        values[name] = value
    unknown = set(chosen) - set(values)
    if unknown:
        raise ValueError(f"no such parameters: {unknown}")
    return values


class Resolver:
    """Resolves intrinsic functions. `attributes` are those of resources that exist, by
    `(logical id, attribute)` or `(logical id, None)` for `Ref`; without one, a name that shows
    what it stands for."""

    def __init__(self, template: dict, values: dict, attributes: dict | None = None, pseudo: dict | None = None):
        self.template = template
        self.values = PSEUDO | (pseudo or {}) | values
        self.attributes = attributes or {}

    def condition(self, name: str) -> bool:
        return self.truth(self.template["Conditions"][name])

    def truth(self, expression) -> bool:
        if isinstance(expression, bool):
            return expression
        ((function, argument),) = expression.items()
        match function:
            case "Condition":
                return self.condition(argument)
            case "Fn::Equals":
                left, right = (str(self(part)) for part in argument)
                return left == right
            case "Fn::Not":
                return not self.truth(argument[0])
            case "Fn::And":
                return all(self.truth(part) for part in argument)
            case "Fn::Or":
                return any(self.truth(part) for part in argument)
        raise ValueError(f"{function} is no condition")

    def reference(self, name: str, attribute: str | None = None):
        if attribute is None and name in self.values:
            value = self.values[name]
            return ABSENT if value is None else value
        if name not in self.template["Resources"]:
            raise ValueError(f"{name} is neither a parameter nor a resource")
        resource = self.template["Resources"][name]
        if "Condition" in resource and not self.condition(resource["Condition"]):
            raise ValueError(f"{name} does not exist under these parameters")
        found = self.attributes.get((name, attribute))
        return found if found is not None else f"<{name}{'.' + attribute if attribute else ''}>"

    def __call__(self, value):
        if isinstance(value, list):
            parts = [self(part) for part in value]
            return [part for part in parts if part is not ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            match function:
                case "Ref":
                    return self.reference(argument)
                case "Fn::GetAtt":
                    name, attribute = argument if isinstance(argument, list) else argument.split(".", 1)
                    return self.reference(name, attribute)
                case "Fn::If":
                    return self(argument[1] if self.condition(argument[0]) else argument[2])
                case "Fn::Join":
                    return argument[0].join(str(part) for part in self(argument[1]))
                case "Fn::Select":
                    index, parts = argument
                    parts = self(parts)
                    if int(index) >= len(parts):
                        raise ValueError(f"part {index} of {parts} does not exist")
                    return parts[int(index)]
                case "Fn::Split":
                    return self(argument[1]).split(argument[0])
                case "Fn::FindInMap":
                    mapping, first, second = self(argument)
                    return self.template["Mappings"][mapping][first][second]
                case "Fn::Sub":
                    return self.substitute(argument)
        parts = {key: self(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part is not ABSENT}

    def substitute(self, argument) -> str:
        text, names = argument if isinstance(argument, list) else (argument, {})
        names = {name: self(value) for name, value in names.items()}

        def replace(match):
            name = match.group(1)
            if name in names:
                return str(names[name])
            return str(self.reference(*name.split(".", 1)))

        return re.sub(r"\$\{([A-Za-z0-9_.:]+)\}", replace, text)


def resolve(
    template: dict, chosen: dict | None = None, attributes: dict | None = None, pseudo: dict | None = None
) -> dict:
    """The resources of a stack: transformed template, conditions applied, functions resolved. `pseudo`
    are pseudo parameters with other values than usual, such as another Region."""
    resolver = Resolver(template, parameters(template, chosen), attributes, pseudo)
    resources = {}
    for name, resource in template["Resources"].items():
        if "Condition" in resource and not resolver.condition(resource["Condition"]):
            continue
        resources[name] = {
            "Type": resource["Type"],
            "Properties": resolver(resource.get("Properties", {})),
        }
    return resources


def of_type(resources: dict, kind: str) -> dict:
    """The properties of all resources of a type."""
    return {
        name: resource["Properties"] for name, resource in resources.items() if resource["Type"] == kind
    }


def function_environment(resources: dict, function: str) -> dict:
    """The environment of a function."""
    return resources[function]["Properties"]["Environment"]["Variables"]


_TRANSFORMED: dict[str, dict] = {}


def transformed(kind: str) -> dict:
    """`transform(load(kind))`, once; a copy, so that a test may change it."""
    if kind not in _TRANSFORMED:
        _TRANSFORMED[kind] = transform(load(kind))
    return copy.deepcopy(_TRANSFORMED[kind])


def samconfig_sections() -> dict:
    """samconfig.toml by environment."""
    written = tomllib.loads((ROOT / "samconfig.toml").read_text())
    return {name: section for name, section in written.items() if isinstance(section, dict)}


def samconfig() -> dict:
    """Parameter overrides by environment, as samconfig.toml has them; `--guided` writes them as one text."""
    overrides = {}
    for name, section in samconfig_sections().items():
        written = section.get("deploy", {}).get("parameters", {}).get("parameter_overrides", [])
        pairs = shlex.split(written) if isinstance(written, str) else written
        overrides[name] = dict(pair.split("=", 1) for pair in pairs)
    return overrides


def violations(template: dict, chosen: dict | None = None) -> list[str]:
    """What the template's own rules say against a choice of parameters."""
    resolver = Resolver(template, parameters(template, chosen))
    said = []
    for rule in template["Rules"].values():
        if resolver.truth(rule.get("RuleCondition", True)):
            said += [
                assertion["AssertDescription"]
                for assertion in rule["Assertions"]
                if not resolver.truth(assertion["Assert"])
            ]
    return said
