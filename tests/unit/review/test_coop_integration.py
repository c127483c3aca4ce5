"""The integration that Coop loads: its contract, and its signals before a real gateway."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import gateway_beside
import pytest

from veriphoto_client import FakeTransport

ROOT = Path(__file__).parent.parent.parent.parent
PACKAGE = ROOT / "review" / "coop-integration"
SAMPLE = "real_boots.jpg"
# types/integration.ts of Coop: REQUIRED_MODEL_CARD_SECTION_IDS, isCoopIntegrationPlugin and PluginSignalDescriptor.
SECTIONS = {
    *("trainingData", "policyAndTaxonomy", "annotationMethodology", "performanceBenchmarks"),
    *("biasAndLimitations", "implementationGuidance", "relevantLinks"),
}
DESCRIPTOR = {
    *("id", "displayName", "description", "docsUrl", "recommendedThresholds", "supportedLanguages", "pricingStructure"),
    *("eligibleInputs", "outputType", "getCost", "run", "getDisabledInfo", "needsMatchingValues"),
    *("eligibleSubcategories", "needsActionPenalties", "integration", "allowedInAutomatedRules"),
}
# As Coop's loader does: require() beside its own package, createSignals(context), then run() for each condition.
LOADER = """
const [, credential, value] = process.argv;
const plugin = require(process.env.PACKAGE);
const context = { integrationId: plugin.manifest.id, getCredential: async () => JSON.parse(credential) };
(async () => {
  const found = { manifest: plugin.manifest, signals: {} };
  for (const { signalTypeId, signal } of plugin.createSignals(context)) {
    const input = { value: JSON.parse(value), orgId: 'o' };
    const result = await signal.run(input).catch((error) => ({ error: error.message }));
    const disabled = await signal.getDisabledInfo('o');
    found.signals[signalTypeId] = { fields: Object.keys(signal), outputType: signal.outputType, result, disabled };
  }
  console.log(JSON.stringify(found));
})();
"""

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")


def loaded(credential: Any, value: Any) -> Any:
    command = ["node", "-e", LOADER, json.dumps(credential), json.dumps(value)]
    environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "PACKAGE": str(PACKAGE)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=60)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    with gateway_beside.gateway(FakeTransport(), drain=0, api_keys="coop=0123456789abcdef") as address:
        yield address


@pytest.fixture(scope="module")
def photos() -> Iterator[str]:
    class Files(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(ROOT / "samples"))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_contract() -> None:
    found = loaded({}, {})
    manifest = found["manifest"]
    assert [type(manifest[name]) for name in ("id", "name", "version", "requiresConfig")] == [str, str, str, bool]
    assert manifest["id"].isupper(), "Coop makes it a GraphQL enum"
    assert {each["id"] for each in manifest["modelCard"]["sections"]} >= SECTIONS
    assert set(found["signals"]) == set(manifest["signalTypeIds"])
    for signal in found["signals"].values():
        assert set(signal["fields"]) == DESCRIPTOR
        assert signal["disabled"]["disabled"] is True
        assert signal["disabled"]["disabledMessage"]


def test_a_rule_asks_the_gateway(gateway: str, photos: str) -> None:
    credential = {"gatewayUrl": gateway, "apiKey": "0123456789abcdef"}
    found = loaded(credential, {"type": "IMAGE", "value": {"url": f"{photos}/{SAMPLE}"}})["signals"]
    probability, flagged = found["VERIPHOTO_AI_PROBABILITY"], found["VERIPHOTO_FLAGGED"]
    assert probability["disabled"] == {"disabled": False}
    assert probability["result"]["outputType"] == probability["outputType"] == {"scalarType": "NUMBER"}
    assert 0.0 < probability["result"]["score"] < 1.0
    assert flagged["result"]["outputType"] == {"scalarType": "BOOLEAN"}
    assert isinstance(flagged["result"]["score"], bool)


@pytest.mark.parametrize(
    ("change", "value", "said"),
    [
        ({}, {"type": "STRING", "value": "text"}, "takes an image field"),
        ({}, {"type": "IMAGE", "value": {"url": "PHOTOS/gone.jpg"}}, "cannot be fetched: status 404"),
        ({}, {"type": "IMAGE", "value": {"url": "PHOTOS/"}}, "cannot score the photo: "),
        ({"apiKey": "wrong"}, {"type": "IMAGE", "value": {"url": f"PHOTOS/{SAMPLE}"}}, "this API key is not known"),
        ({"gatewayUrl": ""}, {"type": "IMAGE", "value": {"url": f"PHOTOS/{SAMPLE}"}}, "set the address"),
    ],
)
def test_what_a_rule_is_told(gateway: str, photos: str, change: Any, value: Any, said: str) -> None:
    value = json.loads(json.dumps(value).replace("PHOTOS", photos))
    found = loaded({"gatewayUrl": gateway, "apiKey": "0123456789abcdef", **change}, value)["signals"]
    for signal in found.values():
        assert said in signal["result"]["error"]
