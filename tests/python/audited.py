"""A node's configuration with an audit record, and the keys it takes."""

import subprocess

from node import binary

SETTINGS = """
[audit]
dir = "{folder}/audit"
root_key_file = "{folder}/root.key"
deployment = "clinic.example/test"
node = "n1"
region = "FR/par1"
"""


def make_keys(config, inside=()):
    """Makes the record's keys; `inside` is a command that runs another one in some surroundings."""
    made = subprocess.run([*inside, binary(), "audit", "init", "--config", config], capture_output=True, text=True, timeout=30)
    assert made.returncode == 0, made.stderr
    return config
