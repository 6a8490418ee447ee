"""What the CLIP service is compared with: FastAPI and transformers, as a good developer writes it in an afternoon.

Run by an interpreter that has torch, transformers, fastapi, uvicorn and python-multipart:

    python bench/plain_service.py PORT

Its CLIP has the size of ViT-B/32 and random weights, so that nothing is downloaded.
"""

import sys
import time
from typing import Any

import torch  # type: ignore[import-not-found]
import uvicorn
from fastapi import FastAPI, UploadFile
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel  # type: ignore[import-not-found]

model = CLIPModel(CLIPConfig()).eval()  # transformers' defaults are ViT-B/32
processor = CLIPImageProcessor()
app = FastAPI()


@app.post("/extract-features")
def extract_features(image: UploadFile) -> dict[str, Any]:
    """One picture's unit vector. FastAPI runs it in its pool of threads."""
    started = time.perf_counter()
    picture = Image.open(image.file).convert("RGB")
    pixels = processor(images=picture, return_tensors="pt")
    with torch.inference_mode():
        vector = model.visual_projection(model.vision_model(**pixels).pooler_output)[0]
        vector = vector / vector.norm()
    took_ms = (time.perf_counter() - started) * 1000
    return {"features": vector.tolist(), "dimensions": len(vector), "took_ms": took_ms}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]))
