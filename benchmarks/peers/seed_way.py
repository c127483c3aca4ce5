"""The way of the project's seed: FastAPI, PyTorch in eager mode, one process, Pillow and a resize.

    python seed_way.py PORT

Its API as published: the whole picture, resized to 224 pixels. Weights are random: speed does not depend on them.
PyTorch's threads are left at their default, one a core, which suits its one process best.
"""

from __future__ import annotations

import contextlib
import io
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image

# timm imports torchvision, and torchvision of PyPI wants two operators that a CPU build of torch does not have.
for _name in ("nms", "qnms"):
    with contextlib.suppress(RuntimeError):
        torch.library.define(f"torchvision::{_name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import timm  # noqa: E402

MEAN = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
STD = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)

app = FastAPI()
model = timm.create_model("efficientnet_b0", pretrained=False, num_classes=1).eval()


def pixels(data: bytes) -> torch.Tensor:
    """Returns FP32 [1, 3, 224, 224]."""
    image = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR)
    return (torch.from_numpy(np.array(image)[None]).permute(0, 3, 1, 2).float() / 255.0 - MEAN) / STD


@app.get("/health")
def health() -> dict[str, str]:
    """Says that it is there."""
    return {"status": "ok"}


@app.post("/predict")
async def predict(file: UploadFile) -> dict[str, float]:
    """Scores a picture."""
    batch = pixels(await file.read())
    with torch.inference_mode():
        probability = torch.sigmoid(model(batch)).item()
    return {"probability": probability}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
