"""Writes `regional.yaml` and `regional-http-api.yaml`: the two templates without the edge.

CloudFormation refuses a template that names a resource type which its Region does not know, even under a
condition that is false. AWS GovCloud (US), China and the AWS European Sovereign Cloud lack CloudFront, or
the parts of it that the edge consists of. So each template is evaluated here for `Edge=none`, and what is left
of it is written down. `make generate` runs this; a test fails when the files are not what it writes.
"""

import json
import re
from pathlib import Path

import yaml
from cfnlint.decode.cfn_yaml import loads as load_cloudformation

HERE = Path(__file__).resolve().parent
# From which template each is made.
VARIANTS = {"regional.yaml": "template.yaml", "regional-http-api.yaml": "http-api.yaml"}
# The parameters that are gone, and what they were.
FIXED = {
    "Edge": "none", "EdgeAllowHeaders": "", "Spa": "false", "OriginDomainName": "",
    "OriginSecretVersion": "", "OriginSecretAlso": "",
}
HEADER = """\
# Made from infra/{source} by `make generate`: edit that file, not this one.
#
# The same system without CloudFront, for Regions that lack it: docs/deploy.md, "Other partitions".
"""

NO_VALUE = {"Ref": "AWS::NoValue"}


class Folding:
    """Evaluates what the fixed parameters decide, and leaves the rest as it is."""

    def __init__(self, template: dict, given: str | None = None):
        self.conditions = template["Conditions"]
        # A condition without which what is evaluated would not exist.
        self.given = given

    def condition(self, name: str):
        """True, False, or a condition where other parameters decide: the same, or the one it comes down to."""
        if name == self.given:
            return True
        folded = self(self.conditions[name])
        return folded if isinstance(folded, bool) or set(folded) == {"Condition"} else {"Condition": name}

    def __call__(self, value):
        if isinstance(value, list):
            return [part for part in map(self, value) if part != NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((function, argument),) = value.items()
            match function:
                case "Ref" if argument in FIXED:
                    return FIXED[argument]
                case "Fn::Sub" if isinstance(argument, str):
                    return {function: self.text(argument)}
                case "Fn::Sub":
                    return {function: [self.text(argument[0]), self(argument[1])]}
                case "Condition" if isinstance(argument, str):
                    return self.condition(argument)
                case "Fn::If":
                    name, then, otherwise = argument
                    chosen = self.condition(name)
                    if isinstance(chosen, bool):
                        return self(then if chosen else otherwise)
                    # AWS::NoValue stays here: it is one of two answers.
                    return {function: [chosen["Condition"], self(then), self(otherwise)]}
                case "Fn::Equals":
                    left, right = map(self, argument)
                    constant = isinstance(left, str) and isinstance(right, str)
                    return left == right if constant else {function: [left, right]}
                case "Fn::Not":
                    (folded,) = map(self, argument)
                    return not folded if isinstance(folded, bool) else {function: [folded]}
                case "Fn::And" | "Fn::Or":
                    return self.junction(function, argument)
                case "Fn::Join" | "Fn::Split" | "Fn::Select":
                    return self.text_function(function, argument[0], self(argument[1]))
        parts = {key: self(part) for key, part in value.items()}
        return {key: part for key, part in parts.items() if part != NO_VALUE}

    @staticmethod
    def text_function(function: str, first, parts):
        """The value of a function on texts, where all of them are known."""
        match function:
            case "Fn::Join" if isinstance(parts, list) and all(isinstance(part, str) for part in parts):
                return first.join(parts)
            case "Fn::Split" if isinstance(parts, str):
                return parts.split(first)
            case "Fn::Select" if isinstance(parts, list) and isinstance(parts[int(first)], str):
                return parts[int(first)]
        return {function: [first, parts]}

    @staticmethod
    def text(text: str) -> str:
        for name, value in FIXED.items():
            text = text.replace("${" + name + "}", value)
        return text

    def junction(self, function: str, argument: list):
        neutral = function == "Fn::And"
        parts = [part for part in map(self, argument) if part is not neutral]
        if any(isinstance(part, bool) for part in parts):
            return not neutral
        if not parts:
            return neutral
        return parts[0] if len(parts) == 1 else {function: parts}


def named(value) -> set[str]:
    """Every name that is referred to: parameters, conditions, mappings, resources."""
    if isinstance(value, list):
        return set().union(*map(named, value))
    if not isinstance(value, dict):
        return set()
    found = set()
    for function, argument in value.items():
        match function:
            case "Ref" | "Condition" if isinstance(argument, str):
                found.add(argument)
            case "Fn::Sub":
                text = argument if isinstance(argument, str) else argument[0]
                found |= set(re.findall(r"\$\{([A-Za-z0-9]+)", text))
            case "Fn::If" | "Fn::FindInMap":
                found.add(argument[0])
        found |= named(argument)
    return found


def only(section: dict, kept) -> dict:
    return {name: value for name, value in section.items() if name in kept}


def without_edge(template: dict) -> dict:
    """What is left of a template for `Edge=none`."""
    fold = Folding(template)
    parts = dict(template)
    for section in ("Resources", "Outputs"):
        kept = {}
        for name, value in template[section].items():
            exists = fold.condition(value["Condition"]) if "Condition" in value else True
            if exists is False:
                continue
            within = fold if exists is True else Folding(template, exists["Condition"])
            kept[name] = {key: within(part) for key, part in value.items() if key != "Condition"}
            if exists is not True:
                kept[name] |= exists
        parts[section] = kept
    rules = {}
    for name, rule in template["Rules"].items():
        when = fold(rule.get("RuleCondition", True))
        assertions = [one | {"Assert": fold(one["Assert"])} for one in rule["Assertions"]]
        assertions = [one for one in assertions if one["Assert"] is not True]
        if when is not False and assertions:
            rules[name] = ({} if when is True else {"RuleCondition": when}) | {"Assertions": assertions}
    parts["Rules"] = rules
    conditions = {name: fold(value) for name, value in template["Conditions"].items()}
    conditions = {name: value for name, value in conditions.items() if not isinstance(value, bool)}
    globals_ = fold(template["Globals"])
    used = named([parts["Resources"], parts["Outputs"], rules, globals_])
    while True:
        reached = used | named([conditions[name] for name in used & set(conditions)])
        if reached == used:
            break
        used = reached
    parts |= {
        "Globals": globals_,
        "Conditions": only(conditions, used),
        "Mappings": only(template["Mappings"], used),
        "Parameters": only(template["Parameters"], used),
    }
    interface = template["Metadata"]["AWS::CloudFormation::Interface"]
    groups = [
        group | {"Parameters": [name for name in group["Parameters"] if name in used]}
        for group in interface["ParameterGroups"]
    ]
    parts["Metadata"] = {"AWS::CloudFormation::Interface": interface | {"ParameterGroups": groups}}
    return parts


class Dumper(yaml.SafeDumper):
    """YAML as a person would write it: `!Ref Name`, and long texts as they are."""

    def ignore_aliases(self, data):
        return True


def write_mapping(dumper: Dumper, value: dict):
    if len(value) == 1:
        ((function, argument),) = value.items()
        tag = function.removeprefix("Fn::")
        if function.startswith("Fn::") or (function in ("Ref", "Condition") and isinstance(argument, str)):
            if function == "Fn::GetAtt" and isinstance(argument, list):
                argument = ".".join(argument)
            if isinstance(argument, list):
                return dumper.represent_sequence(f"!{tag}", argument)
            return dumper.represent_scalar(f"!{tag}", argument, style=None if tag in ("Ref", "Condition") else "'")
    return dumper.represent_dict(value)


def write_text(dumper: Dumper, value: str):
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


Dumper.add_representer(dict, write_mapping)
Dumper.add_representer(str, write_text)


def render(name: str) -> str:
    """The text of a variant."""
    source = VARIANTS[name]
    template = json.loads(json.dumps(load_cloudformation((HERE / source).read_text())))
    body = yaml.dump(without_edge(template), Dumper=Dumper, sort_keys=False, width=120, allow_unicode=True)
    return HEADER.format(source=source) + body


if __name__ == "__main__":
    for variant in VARIANTS:
        (HERE / variant).write_text(render(variant))
