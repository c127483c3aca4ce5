"""Load as a platform makes it.

    locust --locustfile benchmarks/locustfile.py --host http://127.0.0.1:8080

The API key, where one is needed, comes from the environment variable VERIPHOTO_API_KEY.
"""

from __future__ import annotations

import io
import os

from locust import HttpUser, between, task
from PIL import Image


def photo() -> bytes:
    """Makes a JPEG of 224 x 224 pixels."""
    noise = Image.frombytes("RGB", (28, 28), os.urandom(28 * 28 * 3))
    buffer = io.BytesIO()
    noise.resize((224, 224), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Platform(HttpUser):
    """Sends photos, and now and then looks how the service is."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Prepares a photo and the key, and looks how the service is: a short run may never draw the rarer tasks."""
        self.photo = photo()
        self.client.headers["X-API-Key"] = os.environ.get("VERIPHOTO_API_KEY", "")
        self.health()
        self.metrics()

    @task(10)
    def predict(self) -> None:
        """Has the photo scored."""
        files = {"file": ("photo.jpg", self.photo, "image/jpeg")}
        with self.client.post("/predict", files=files, catch_response=True) as answer:
            if answer.status_code != 200 or answer.json()["prediction"] not in ("real", "ai_generated"):
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")

    @task(2)
    def health(self) -> None:
        """Looks how the service is."""
        self.client.get("/health")

    @task(1)
    def metrics(self) -> None:
        """Reads the metrics."""
        self.client.get("/metrics")
