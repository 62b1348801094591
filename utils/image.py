"""Images on disk and as arrays. On disk 8-bit sRGB, in memory (H, W, 3) RGB `uint8`."""

import io
import struct
import warnings
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from utils.atomic import write_bytes

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow, 4 bytes each
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def read_image(path: str | Path) -> np.ndarray:
    """Read an image file as RGB: path -> (H, W, 3) uint8.

    Grey images are repeated in three channels, 16-bit values are rounded to 8 bit, a fully opaque alpha channel is
    dropped. Raises ValueError that names the file when it is missing, damaged, not an image or really transparent.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as header:
                header.verify()  # PNG: the checksum of every chunk, so a truncated file is found before decoding
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except Exception:  # Pillow and OpenCV raise what they like (SyntaxError, struct.error, ...) on damaged files
        image = None
    if image is None:
        raise ValueError(f"{path}: not a readable image ({len(content)} bytes; truncated, damaged or another format)")
    return _to_rgb_uint8(image, path)


def _to_rgb_uint8(image: np.ndarray, path: Path) -> np.ndarray:
    """Convert what OpenCV decoded, (H, W[, 1|3|4]) uint8 or uint16 in BGR order, to (H, W, 3) uint8 RGB."""
    if image.dtype == np.uint16:
        image = np.round(image / 257.0).astype(np.uint8)  # 65535 / 255 = 257
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: pixels are {image.dtype}, expected 8-bit or 16-bit integers")
    if image.ndim == 3 and image.shape[2] == 4:
        if image[:, :, 3].min() < 255:
            raise ValueError(f"{path}: has transparent pixels, expected an opaque RGB image")
        image = image[:, :, :3]
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    return np.ascontiguousarray(image[:, :, ::-1])


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB to `path` atomically; the suffix chooses the format. Returns nothing."""
    path = Path(path)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"{path}: expected an (H, W, 3) uint8 array to write, got {image.shape} {image.dtype}")
    done, encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image[:, :, ::-1]))
    if not done:
        raise ValueError(f"{path}: could not be encoded as {path.suffix}")
    write_bytes(path, encoded.tobytes())


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clip an image in [0, 1] and round it to 8 bit, as files and servers do (never truncate)."""
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def png_size(path: Path) -> tuple[int, int] | None:
    """Read a PNG's (height, width) without decoding it; None when it is no whole PNG."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(PNG_START) + 8)
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            end = file.read()
    except OSError:
        return None
    if not start.startswith(PNG_START) or end != PNG_END:
        return None
    width, height = struct.unpack(">II", start[len(PNG_START) :])
    return height, width
