"""D74: deny.toml, held to refusing what it is there to refuse. Each package here differs in one point
from one that is let in.

    CARGO_DENY=FILE python -m unittest      (`make lint` does)
"""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DENY = os.environ.get("CARGO_DENY", "cargo-deny")


def judged(name="harmless", licence="MIT", table="dependencies") -> tuple[bool, str]:
    """What is said about a package of ours that depends on another with this name and licence."""
    with tempfile.TemporaryDirectory() as folder:
        for package, package_licence, more in (
            ("ours", "Apache-2.0", f'[{table}]\n{name} = {{ path = "../{name}" }}\n'),
            (name, licence, ""),
        ):
            source = Path(folder, package, "src")
            source.mkdir(parents=True)
            source.joinpath("lib.rs").touch()
            source.parent.joinpath("Cargo.toml").write_text(
                f'[package]\nname = "{package}"\nversion = "0.1.0"\nedition = "2024"\n'
                f'license = "{package_licence}"\npublish = false\n{more}'
            )
        done = subprocess.run(
            [DENY, "--offline", "--manifest-path", Path(folder, "ours/Cargo.toml"), "--config", ROOT / "deny.toml"]
            + ["check", "--hide-inclusion-graph", "bans", "licenses", "sources"],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode == 0, done.stdout + done.stderr


class Dependencies(unittest.TestCase):
    def test_d74_what_is_in_the_tree_is_let_in(self):
        for licence in ("MIT", "MIT OR GPL-3.0-only", "Apache-2.0"):
            good, said = judged(licence=licence)
            self.assertTrue(good, f"{licence}: {said}")

    def test_d74_a_foreign_licence_is_refused(self):
        for licence in ("GPL-3.0-only", "AGPL-3.0-only", "BUSL-1.1", "MIT AND GPL-3.0-only"):
            good, said = judged(licence=licence)
            self.assertFalse(good, licence)
            self.assertIn("license", said)

    def test_d74_another_tls_stack_and_a_known_fault_are_refused(self):
        for name in ("native-tls", "openssl", "openssl-sys", "ring", "rsa"):
            for table in ("dependencies", "build-dependencies"):
                good, said = judged(name=name, table=table)
                self.assertFalse(good, f"{name} in {table}")
                self.assertIn("banned", said)


if __name__ == "__main__":
    unittest.main()
