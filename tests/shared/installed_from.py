"""What pip installs a distribution of ours from: in a checkout, its folder there."""

import re


def as_released(text):
    """A message as a user without a checkout sees it."""
    return re.sub(r"-e \S+/plugins/mox_(\w+)", lambda match: f"mox-{match[1].replace('_', '-')}", text)
