"""Neural networks as ONNX files: finding, downloading, preprocessing and running them.

`ClipModel` runs a CLIP model from a folder, `FallbackModel` the small network that comes with the installation; both
are an `ImageModel`. `seesame.models.hub` finds and downloads folders.
"""

from seesame.models.clip import ClipModel
from seesame.models.fallback import FallbackModel
from seesame.models.image_model import ImageModel

__all__ = ["ClipModel", "FallbackModel", "ImageModel"]
