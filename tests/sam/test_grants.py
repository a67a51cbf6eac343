"""What the version that runs may do must outlast a deploy: CloudFormation changes roles and the policies
of keys before the aliases move. And keys and table must outlast the stack."""

import json
import unittest

import checks
import template as sam
from test_template import HOST, KEY, OPERATOR

OTHER = KEY.replace("1234", "5678")
DATA_KEY = {"SigningMode": "data-key"}
SLOTS = ("A", "A,B", "B,A", "B")
STEPS = [*zip(SLOTS, SLOTS[1:]), *zip(SLOTS[::-1], SLOTS[::-1][1:])]


def grants(template: dict, chosen: dict) -> set[tuple]:
    """Role, action, what on, and under which condition: every right of the functions."""
    resources = sam.resolve(template, chosen)
    roles = {f"<{function}Role.Arn>": f"{function}Role" for function in sam.FUNCTIONS}
    found = set()
    for role in roles.values():
        (policy,) = resources[role]["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]:
            for place in checks.as_list(statement["Resource"]):
                found |= rights(role, place, statement)
    for name, key in sam.of_type(resources, "AWS::KMS::Key").items():
        for statement in key["KeyPolicy"]["Statement"]:
            for principal in checks.principals(statement):
                if principal in roles:
                    found |= rights(roles[principal], name, statement)
    return found


def rights(role: str, place: str, statement: dict) -> set[tuple]:
    condition = json.dumps(statement.get("Condition", {}), sort_keys=True)
    return {(role, action, place, condition) for action in checks.as_list(statement["Action"])}


def lost(template: dict, before: dict, after: dict) -> set[tuple]:
    """What the version that runs loses in a deploy. A key that leaves the template is kept, and so is
    its policy."""
    there = sam.resolve(template, after)
    kept = {
        name
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::KMS::Key" and resource.get("DeletionPolicy") == "Retain" and name not in there
    }
    gone = grants(template, before) - grants(template, after)
    return {right for right in gone if right[2] not in kept}


class Additive(unittest.TestCase):
    def templates(self):
        for kind in sam.TEMPLATES:
            yield sam.transformed(kind), {"Edge": "none"} if kind == "http" else {}

    def test_no_step_takes_what_the_running_version_uses(self):
        changes = [({"SigningKeys": one}, {"SigningKeys": other}) for one, other in STEPS]
        changes += [({"MacKeys": one}, {"MacKeys": other}) for one, other in STEPS]
        # At once, when a key is in other hands.
        changes += [({name: "A"}, {name: "B"}) for name in ("SigningKeys", "MacKeys")]
        changes += [
            ({}, DATA_KEY),
            (DATA_KEY, {}),
            (DATA_KEY, DATA_KEY | {"KeysetPublicKey": "MFkw"}),
            (DATA_KEY | {"KeysetPublicKey": "MFkw"}, DATA_KEY),
            ({}, {"RestoredTable": "restored", "NotBefore": "1"}),
            ({}, {"NotBefore": "1"}),
            ({}, HOST),
            ({}, {"JwtAlgorithmB": "ES256"}),
            ({"SigningKeys": "B"}, {"SigningKeys": "B", "JwtAlgorithmA": "ES256"}),
            ({}, {"OperatorRoleArn": OPERATOR}),
            ({}, {"ClientKeyAlgorithm": "ES256"}),
            ({"ClientKeyAlgorithm": "ES256"}, {}),
            ({"SigningKeyArns": KEY}, {"SigningKeyArns": KEY, "SigningKeys": "A,B"}),
            ({"SigningKeyArns": KEY, "SigningKeys": "A,B"}, {"SigningKeyArns": KEY, "SigningKeys": "B,A"}),
            ({"MacKeyArns": KEY}, {"MacKeyArns": f"{KEY},{OTHER}"}),
        ]
        for template, base in self.templates():
            for before, after in changes:
                with self.subTest(before=before, after=after):
                    self.assertEqual(lost(template, base | before, base | after), set())

    def test_what_cannot_be_kept_is_known(self):
        """docs/operations.md says what to do instead of each."""
        changes = [
            ({"RestoredTable": "restored"}, {}),
            ({}, {"TableName": "another"}),
            ({}, {"SecretsPath": "another"}),
            ({}, {"JwtAlgorithmA": "PS256"}),
            ({"ClientKeyAlgorithm": "RS256"}, {"ClientKeyAlgorithm": "PS256"}),
            (DATA_KEY, DATA_KEY | HOST),
        ]
        for template, base in self.templates():
            for before, after in changes:
                with self.subTest(before=before, after=after):
                    self.assertNotEqual(lost(template, base | before, base | after), set())

    def test_a_policy_that_follows_the_first_key_is_found(self):
        template = sam.transformed("rest")
        statements = template["Resources"]["SigningKeyA"]["Properties"]["KeyPolicy"]["Statement"]
        (at,) = (i for i, one in enumerate(statements) if one.get("Sid") == "Sign")
        statements[at] = {"Fn::If": ["SignsWithA", statements[at], {"Ref": "AWS::NoValue"}]}
        self.assertNotEqual(lost(template, {"SigningKeys": "A,B"}, {"SigningKeys": "B,A"}), set())
        self.assertEqual(lost(template, {"SigningKeys": "A"}, {"SigningKeys": "A,B"}), set())

    def test_a_key_that_goes_with_its_letter_is_found(self):
        template = sam.transformed("rest")
        del template["Resources"]["MacKeyA"]["DeletionPolicy"]
        self.assertNotEqual(lost(template, {"MacKeys": "B,A"}, {"MacKeys": "B"}), set())


class Kept(unittest.TestCase):
    def test_keys_and_table_stay_whatever_goes(self):
        for kind in sam.TEMPLATES:
            resources = sam.transformed(kind)["Resources"]
            names = {name for name, one in resources.items() if one["Type"] in ("AWS::KMS::Key", "AWS::DynamoDB::Table")}
            self.assertEqual(len(names), 8)
            for name in names:
                self.assertEqual(resources[name].get("DeletionPolicy"), "Retain", name)
                self.assertEqual(resources[name].get("UpdateReplacePolicy"), "Retain", name)

    def test_a_later_stack_takes_kept_keys_and_a_kept_table(self):
        for kind in sam.TEMPLATES:
            base = {"Edge": "none"} if kind == "http" else {}
            chosen = base | {"SigningKeyArns": KEY, "MacKeyArns": OTHER, "TableName": "kept"}
            resources = sam.resolve(sam.transformed(kind), chosen)
            self.assertNotIn("Table", resources)
            self.assertEqual(sam.of_type(resources, "AWS::KMS::Key"), {})
            for function in ("Authorizer", "Token", "Jwks"):
                environment = sam.function_environment(resources, function)
                self.assertEqual(environment["CLOAKROOM_SIGNING_KEYS"], KEY)
                self.assertEqual(environment["CLOAKROOM_SIGNING_ALGORITHMS"], "RS256")
            for function in ("Authorizer", "Login", "Token"):
                environment = sam.function_environment(resources, function)
                self.assertEqual(environment["CLOAKROOM_MAC_KEYS"], OTHER)
                self.assertEqual(environment["CLOAKROOM_TABLE"], "kept")
            uses = {right[:3] for right in grants(sam.transformed(kind), chosen) if right[1].startswith("kms:")}
            self.assertEqual(
                uses,
                {
                    ("AuthorizerRole", "kms:Sign", KEY),
                    ("TokenRole", "kms:Sign", KEY),
                    ("JwksRole", "kms:GetPublicKey", KEY),
                    ("AuthorizerRole", "kms:GenerateMac", OTHER),
                    ("LoginRole", "kms:GenerateMac", OTHER),
                    ("TokenRole", "kms:GenerateMac", OTHER),
                },
            )
            # And without them it has no right to use a key by its role alone.
            for right in grants(sam.transformed(kind), base):
                self.assertFalse(right[1].startswith("kms:") and right[2].startswith("arn:"), right)

    def test_a_kept_key_is_followed_by_one_of_the_stacks_own(self):
        own = "<SigningKeyB.Arn>"
        for keys, expected in (("A", KEY), ("A,B", f"{KEY},{own}"), ("B,A", f"{own},{KEY}"), ("B", own)):
            chosen = {"SigningKeyArns": KEY, "SigningKeys": keys, "JwtAlgorithmB": "ES256"}
            environment = sam.function_environment(sam.resolve(sam.transformed("rest"), chosen), "Token")
            self.assertEqual(environment["CLOAKROOM_SIGNING_KEYS"], expected)
            said = ",".join({"A": "RS256", "B": "ES256"}[slot] for slot in keys.split(","))
            self.assertEqual(environment["CLOAKROOM_SIGNING_ALGORITHMS"], said)

    def test_two_kept_keys_are_both_used_in_their_order(self):
        for name, variable in (("SigningKey", "CLOAKROOM_SIGNING_KEYS"), ("MacKey", "CLOAKROOM_MAC_KEYS")):
            chosen = {f"{name}Arns": f"{KEY},{OTHER}"}
            environment = sam.function_environment(sam.resolve(sam.transformed("rest"), chosen), "Token")
            self.assertEqual(environment[variable], f"{KEY},{OTHER}")

    def test_arns_are_of_keys_and_not_of_aliases(self):
        for name in ("SigningKeyArns", "MacKeyArns"):
            for good in ("", KEY, f"{KEY},{OTHER}", KEY.replace("key/", "key/mrk-"), KEY.replace("arn:aws", "arn:aws-us-gov")):
                sam.parameters(sam.load("rest"), {name: good})
            for bad in ("1234abcd", KEY.replace("key/", "alias/"), f"{KEY},", f"{KEY} {OTHER}", ",".join([KEY] * 3)):
                with self.assertRaises(ValueError, msg=bad):
                    sam.parameters(sam.load("rest"), {name: bad})

    def test_keys_are_multi_region_only_where_that_was_asked_for(self):
        for asked, expected in (("true", {True}), ("false", {None})):
            for chosen in ({}, DATA_KEY):
                resources = sam.resolve(sam.transformed("rest"), chosen | {"MultiRegion": asked, "ClientKeyAlgorithm": "ES256"})
                found = {key.get("MultiRegion") for key in sam.of_type(resources, "AWS::KMS::Key").values()}
                self.assertEqual(found, expected)


class Canary(unittest.TestCase):
    def deployed(self, **chosen):
        template = sam.transform(sam.load("rest"), values=sam.parameters(sam.load("rest"), chosen))
        resources = sam.resolve(template, chosen)
        return template, sam.of_type(resources, "AWS::CodeDeploy::DeploymentGroup")

    def test_requests_move_as_the_parameter_says(self):
        for preference in ("AllAtOnce", "Canary10Percent5Minutes", "Linear10PercentEvery1Minute"):
            template, groups = self.deployed(DeploymentPreference=preference)
            self.assertEqual(len(groups), 4)
            for group in groups.values():
                self.assertEqual(group["DeploymentConfigName"], f"CodeDeployDefault.Lambda{preference}")
                self.assertEqual(group["ServiceRoleArn"], "<DeploymentRole.Arn>")
                self.assertTrue(group["AutoRollbackConfiguration"]["Enabled"])
            for function in sam.FUNCTIONS:
                policy = template["Resources"][f"{function}Aliaslive"]["UpdatePolicy"]
                self.assertIn("CodeDeployLambdaAliasUpdate", policy)
        with self.assertRaises(ValueError):
            self.deployed(DeploymentPreference="AllAtTwice")

    def test_alarms_take_requests_back_unless_the_deploy_is_the_repair(self):
        for asked, expected in (("true", True), ("false", None)):
            _, groups = self.deployed(DeploymentAlarms=asked)
            for group in groups.values():
                alarms = group["AlarmConfiguration"]
                self.assertEqual(alarms.get("Enabled"), expected)
                names = {one["Name"] for one in alarms.get("Alarms", [])}
                self.assertEqual("<UnavailableAlarm>" in names, bool(expected))


if __name__ == "__main__":
    unittest.main()
