"""Writes prometheusrule.yaml: the rules of monitoring/prometheus as the Prometheus operator takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
RULES = HERE.parents[3] / "monitoring" / "prometheus" / "rules"
HEAD = "# Made by generate.py from monitoring/prometheus/rules; change those.\n"


def resource() -> dict[str, Any]:
    """Returns the PrometheusRule: the groups of all rule files, in the order of their names."""
    files = sorted(RULES.glob("*.yml"))
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "veriphoto",
            "namespace": "veriphoto",
            "labels": {"app.kubernetes.io/part-of": "veriphoto"},
        },
        "spec": {"groups": [group for file in files for group in yaml.safe_load(file.read_text("utf-8"))["groups"]]},
    }


def text() -> str:
    """Returns the file's content."""
    return HEAD + yaml.safe_dump(resource(), sort_keys=False, width=110, allow_unicode=True)


if __name__ == "__main__":
    (HERE / "prometheusrule.yaml").write_text(text(), encoding="utf-8")
