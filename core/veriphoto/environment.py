"""The environment variables that no command has an option for. Those of options are named where the options are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Final

_SECRETS: Final = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL|REVIEW_DATABASE", re.IGNORECASE)


class Variable(StrEnum):
    """Names of environment variables."""

    LOG_FORMAT = "VERIPHOTO_LOG_FORMAT"
    """``text``, ``json`` or ``auto``."""
    TRITON_ADMIN_KEY = "VERIPHOTO_TRITON_ADMIN_KEY"
    TRITON_ADMIN_KEY_FILE = "VERIPHOTO_TRITON_ADMIN_KEY_FILE"
    """A file that holds that key, such as a container's secret."""
    COOP_API_KEY = "VERIPHOTO_COOP_API_KEY"
    REVIEWER_HEADER = "VERIPHOTO_REVIEWER_HEADER"
    """Names the header in which the proxy says who is logged in, such as X-Forwarded-User."""

    # Read by compose.yaml, docker/ and deploy/ alone; where somebody exports them, our processes see them too.
    DATA = "VERIPHOTO_DATA"
    PROMETHEUS_URL = "VERIPHOTO_PROMETHEUS_URL"
    PUBLISH = "VERIPHOTO_PUBLISH"
    REGISTRY = "VERIPHOTO_REGISTRY"
    SCAN_OUTPUT = "VERIPHOTO_SCAN_OUTPUT"
    SCAN_SOURCE = "VERIPHOTO_SCAN_SOURCE"
    SECRETS = "VERIPHOTO_SECRETS"
    TAG = "VERIPHOTO_TAG"


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns a copy of the environment for a child, without our keys and anything else named like a secret.

    Children parse hostile pictures, so they must not hold what an exploit could steal.
    """
    return {name: value for name, value in environment.items() if not _SECRETS.search(name)}
