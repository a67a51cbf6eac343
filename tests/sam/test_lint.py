"""The comparison of a linter's findings with those that are accepted."""

import unittest

import yaml

import lint


class Accepted(unittest.TestCase):
    accepted = {"A_1": {"what": "x", "why": "y"}}

    def test_what_is_accepted_passes_and_nothing_else(self):
        self.assertEqual(lint.compare({"A_1 (name)": {"f: R"}}, self.accepted), [])
        wrong = lint.compare({"A_1 (name)": {"f: R"}, "A_2 (other)": {"f: S"}}, self.accepted)
        self.assertEqual(wrong, ["A_2 (other): f: S"])

    def test_what_no_longer_occurs_is_said(self):
        self.assertEqual(lint.compare({}, self.accepted), ["A_1 is accepted and does not occur"])

    def test_each_needs_a_reason(self):
        wrong = lint.compare({"A_1 (name)": {"f: R"}}, {"A_1": {"what": "x"}})
        self.assertEqual(wrong, ["A_1 is accepted without a reason"])

    def test_every_accepted_finding_says_what_and_why(self):
        for check, one in yaml.safe_load(lint.ACCEPTED.read_text()).items():
            self.assertEqual(set(one), {"what", "why"}, check)


if __name__ == "__main__":
    unittest.main()
