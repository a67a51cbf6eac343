"""The budget of the packages, held to refusing what is over it."""

import os
import tempfile
import unittest
from pathlib import Path

import sizes


class Budgets(unittest.TestCase):
    def measure(self, size: int, budgets=None):
        with tempfile.TemporaryDirectory() as directory:
            bootstrap = Path(directory, "authorizer", "bootstrap")
            bootstrap.parent.mkdir()
            # Noise: it does not shrink.
            bootstrap.write_bytes(os.urandom(size))
            return sizes.measure(Path(directory), budgets or {"authorizer": 4096})

    def test_a_function_within_its_budget_is_good_and_one_over_it_is_not(self):
        self.assertTrue(self.measure(3000)[1])
        lines, good = self.measure(5000)
        self.assertFalse(good)
        self.assertIn("TOO LARGE", lines[0])

    def test_a_function_that_is_not_there_is_not_within_its_budget(self):
        lines, good = self.measure(10, {"authorizer": 4096, "login": 4096})
        self.assertFalse(good)
        self.assertIn("not there", lines[1])

    def test_every_function_has_a_budget_and_nothing_measured_is_not_good(self):
        self.assertEqual(set(sizes.BUDGETS), {"authorizer", "jwks", "login", "token"})
        self.assertEqual(sizes.main([]), 1)


if __name__ == "__main__":
    unittest.main()
