"""What the emulated cloud cannot show, judged on what CloudFormation would be given: the template that SAM's own
translator makes of two deploys, one after the other (tests/sam/release.py plays CloudFormation's part)."""

import sys

from world import ROOT

sys.path.insert(0, str(ROOT / "tests/sam"))

import checks  # noqa: E402
import release  # noqa: E402
import template as sam  # noqa: E402

TRANSLATOR = "translator"
TAKEN_AWAY = {"release": "release number", "layer": "layer link", "redeploy": "redeploy"}


def take_away(template: dict, what: str) -> dict:
    """The template without one of the three things that make a change take effect."""
    return release.TAKEN_AWAY[TAKEN_AWAY[what]](template) if what else template


def deployed(life, *changes: dict) -> release.Stack:
    """The stack after a first deploy with the life's parameters, and one with each of the changes."""
    stack = release.Stack(life.written())
    chosen = {name: value for name, value in life.stack.parameters.items()}
    for change in ({}, *changes):
        chosen |= change
        stack.deploy(chosen)
    return stack


def behind(stack: release.Stack) -> None:
    """Fails if anything that was asked for is not in force."""
    from life import Failed

    if left := stack.behind():
        raise Failed(f"not in force after the second deploy: {left}")


def redeployed(life):
    behind(deployed(life, {"BackendUrl": "https://elsewhere.test"}))
    behind(deployed(life, {"AllowedOrigin": "https://pages.test"}))
    return TRANSLATOR, "BackendUrl and AllowedOrigin: another deployment of the API is what the stage serves"


def kept_answers(life):
    stack = deployed(life, {"AuthorizerTtl": "7"})
    behind(stack)
    document = {"Api": {"Properties": stack.api}}
    kept = {
        int(scheme["x-amazon-apigateway-authorizer"]["authorizerResultTtlInSeconds"])
        for scheme in checks.schemes(document).values()
    }
    from life import expect

    expect("how long answers are kept", kept, {0, 7})
    return TRANSLATOR, "AuthorizerTtl=7 is in the document that the stage serves"


def canary(life):
    """What CloudFormation is told for `DeploymentPreference`: by which CodeDeploy moves each alias, and what takes it
    back."""
    from life import Failed, expect

    document = sam.transform(life.written())
    aliases = {name: one for name, one in document["Resources"].items() if one["Type"] == "AWS::Lambda::Alias"}
    for preference, configuration in (
        ("AllAtOnce", "CodeDeployDefault.LambdaAllAtOnce"),
        ("Canary10Percent5Minutes", "CodeDeployDefault.LambdaCanary10Percent5Minutes"),
    ):
        resources = sam.resolve(document, life.stack.parameters | {"DeploymentPreference": preference})
        groups = sam.of_type(resources, "AWS::CodeDeploy::DeploymentGroup")
        expect("a group for each alias", len(groups), len(aliases))
        for group in groups.values():
            expect("how requests move", group["DeploymentConfigName"], configuration)
            if not group.get("AlarmConfiguration", {}).get("Alarms"):
                raise Failed("no alarm takes a deployment back")
    for name, alias in aliases.items():
        update = alias.get("UpdatePolicy", {}).get("CodeDeployLambdaAliasUpdate", {})
        group = update.get("DeploymentGroupName", {}).get("Ref")
        if document["Resources"].get(group, {}).get("Type") != "AWS::CodeDeploy::DeploymentGroup":
            raise Failed(f"{name} is not moved by CodeDeploy")
    return TRANSLATOR, f"{len(aliases)} aliases move by CodeDeploy, all at once or Canary10Percent5Minutes, with alarms"
