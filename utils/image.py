"""Images on disk and as arrays. On disk sRGB, in memory (H, W, 3) RGB, `uint8` where nothing else is said."""

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from utils.files import write_bytes

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow, 4 bytes each
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
PHOTO_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")  # Pillow would run Ghostscript on an EPS
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's
MODES = (*GREY_MODES, "RGB", "RGBA", "P", "PA")
SIXTEEN_BIT = (".png", ".tif", ".tiff")  # formats that hold 16-bit values
ENCODING = {
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101),  # above 100: lossless
}
PHOTOMETRIC = 262  # TIFF's tag of what zero means
MAX_MEGAPIXELS = 400  # a few bytes can promise any size
Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; ours is checked wherever a file is opened


class Photo(NamedTuple):
    """An image, (H, W, 3) RGB uint8 or uint16, and in words what reading it has changed."""

    pixels: np.ndarray
    remarks: tuple[str, ...]


class _Unfit(Exception):
    """Why an image that is whole is not taken."""


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
    with _errors_named(path, len(content)):
        with _opened(io.BytesIO(content)):
            check_png(content)
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if image.dtype == np.uint16:
            image = to_8bit(image)
        if image.dtype != np.uint8:
            raise _Unfit(f"pixels are {image.dtype}, expected 8-bit or 16-bit integers")
        return _rgb_of_bgr(image)


def read_photo(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read an image as cameras and editors leave it: upright, and in its own precision of 8 or 16 bit.

    As `read_image`, and palettes are looked up; of several pictures in a phone's JPEG (MPO) the first is taken; the
    values count as sRGB whatever colour profile the file names. Raises ValueError that names the file when it is
    missing, damaged, too large, animated, really transparent, or neither grey nor RGB; but a JPEG
    whose data are damaged in the middle decodes, as everywhere, to what is left of it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        file = open(path, "rb")  # noqa: SIM115 - so that only the opening is guarded
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    with file, _errors_named(path, path.stat().st_size):
        if file.read(8) == PNG_START[:8]:
            with _opened(file, max_megapixels, PHOTO_FORMATS, " (--max_megapixels)") as header:
                header.verify()  # the checksums
        with _opened(file, max_megapixels, PHOTO_FORMATS, " (--max_megapixels)") as image:
            return _decode(image, file)


@contextlib.contextmanager
def _errors_named(path: Path, size: int) -> Iterator[None]:
    """Turn what decoders raise into ValueErrors that name the file."""
    try:
        yield
    except _Unfit as reason:
        raise ValueError(f"{path}: {reason}") from None
    except MemoryError:
        raise ValueError(f"{path}: too large for the memory") from None
    except Exception:  # Pillow and OpenCV raise what they like (SyntaxError, struct.error, ...) on damaged files
        what = f"{size} bytes; truncated, damaged or another format"
        raise ValueError(f"{path}: not a readable image ({what})") from None


@contextlib.contextmanager
def _opened(
    file: BinaryIO, max_megapixels: float = MAX_MEGAPIXELS, formats: tuple[str, ...] | None = None, hint: str = ""
) -> Iterator[Image.Image]:
    """Read the header of an image, but no pixels yet.

    formats: Pillow's names of those to expect, None: all; hint: how the limit can be changed, for the error.
    """
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF data and the like
        with Image.open(file, formats=formats) as image:
            if image.width * image.height > max_megapixels * 1e6:
                size = f"{image.height}x{image.width} pixels"
                raise _Unfit(f"{size}, expected at most {max_megapixels:g} megapixels{hint}")
            yield image


def _decode(image: Image.Image, file: BinaryIO) -> Photo:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise _Unfit(f"holds {frames} pictures (an animation or pages), expected one")
    is_16bit = _is_16bit(image, file)
    if image.mode not in MODES or (image.mode.startswith("I") and not is_16bit):
        raise _Unfit(f"its colours are {image.mode}, expected 8-bit or 16-bit grey or RGB")
    is_grey, has_key = image.mode in GREY_MODES, "transparency" in image.info
    remarks = ("grey, repeated in three channels",) if is_grey else _profile_remark(image)
    orientation = _orientation(image)
    image.load()
    if orientation != 1:
        image = ImageOps.exif_transpose(image)  # a TIFF's is applied already
    if is_16bit and has_key:
        raise _Unfit("has a transparent colour, expected an opaque image")
    if is_16bit and image.mode in ("RGB", "RGBA", "LA"):
        pixels = _decode_16bit(file, np.asarray(image), orientation)
    elif is_16bit:
        pixels = np.asarray(image).astype(np.uint16)
        if getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0:  # white is zero; Pillow turns only 8-bit ones
            pixels = 65535 - pixels
    else:
        mode = "RGBA" if has_key or image.mode in ("RGBA", "LA", "PA") else "RGB"
        pixels = np.asarray(image.convert(mode))
    if pixels.ndim == 3:
        return Photo(_without_alpha(pixels), remarks)
    return Photo(np.repeat(pixels[:, :, None], 3, axis=2), remarks)


def _is_16bit(image: Image.Image, file: BinaryIO) -> bool:
    """Whether the file has 16-bit integers; Pillow's mode tells it for grey images only."""
    if image.format == "PNG":
        file.seek(len(PNG_START) + 8)
        return file.read(1) == b"\x10"
    tags = getattr(image, "tag_v2", {})
    if set(tags.get(339, (1,))) != {1}:
        raise _Unfit("its values are signed or fractions, expected 8-bit or 16-bit grey or RGB")
    return set(tags.get(258, (8,))) == {16}


def _decode_16bit(file: BinaryIO, upright_8bit: np.ndarray, orientation: int) -> np.ndarray:
    """Decode 16-bit colours by OpenCV, for Pillow keeps only their high bytes: -> (H, W, 3|4) RGB[A] uint16.

    OpenCV turns some formats upright, and others not; the high bytes tell what it did.
    """
    file.seek(0)
    image = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    image = cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA if image.shape[2] == 4 else cv2.COLOR_BGR2RGB)
    high_bytes = upright_8bit if upright_8bit.shape[2] > 2 else upright_8bit[:, :, [0, 0, 0, 1]]  # grey and alpha
    for candidate in (image, _turned(image, orientation)):
        if np.array_equal(candidate >> 8, high_bytes):
            return candidate
    raise _Unfit("its 16-bit values cannot be decoded for certain, expected a common 16-bit PNG or TIFF")


def _orientation(image: Image.Image) -> int:
    """Read EXIF's orientation; damaged EXIF data count as none, as in viewers."""
    try:
        return image.getexif().get(0x0112, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, struct.error):
        return 1


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image upright by EXIF's orientation, 1 to 8."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(image[rows, columns])


def _profile_remark(image: Image.Image) -> tuple[str, ...]:
    """Tell a colour profile other than sRGB."""
    profile = image.info.get("icc_profile")
    if not profile:
        return ()
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError, TypeError):
        name = "of unknown name"
    return () if "srgb" in name.lower() else (f"its colour profile ({name}) is dropped, the values count as sRGB",)


def _without_alpha(image: np.ndarray) -> np.ndarray:
    if image.shape[2] == 4 and image[:, :, 3].min() < np.iinfo(image.dtype).max:
        raise _Unfit("has transparent pixels, expected an opaque RGB image")
    return np.ascontiguousarray(image[:, :, :3])


def _rgb_of_bgr(image: np.ndarray) -> np.ndarray:
    """Convert what OpenCV decoded, (H, W[, 3|4]) in BGR order, to (H, W, 3) RGB."""
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    return cv2.cvtColor(_without_alpha(image), cv2.COLOR_BGR2RGB)


def encode_image(image: np.ndarray, suffix: str) -> bytes:
    """Encode (H, W, 3) uint8 RGB, or uint16 for PNG and TIFF: -> the file's content. JPEG: quality 95, full colour."""
    suffix = suffix.lower()
    types = (np.uint8, np.uint16) if suffix in SIXTEEN_BIT else (np.uint8,)
    if image.dtype not in types or image.ndim != 3 or image.shape[2] != 3:
        expected = " or ".join(kind.__name__ for kind in types)
        raise ValueError(f"expected an (H, W, 3) {expected} array to write, got {image.shape} {image.dtype}")
    done, encoded = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), ENCODING.get(suffix, ()))
    if not done:
        raise ValueError(f"could not be encoded as {suffix}")
    return encoded.tobytes()


def write_image(path: str | Path, image: np.ndarray, flush: bool = True) -> None:
    """Write (H, W, 3) RGB to `path` as `encode_image` and `utils.files` do; the suffix chooses the format."""
    path = Path(path)
    try:
        content = encode_image(image, path.suffix)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    write_bytes(path, content, flush)


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Clip an image in [0, 1] and round it to 8 bit, as files and servers do (never truncate)."""
    return np.round(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_8bit(image_uint16: np.ndarray) -> np.ndarray:
    """Round 16-bit values to 8 bit: 65535 / 255 = 257."""
    return ((image_uint16.astype(np.uint32) + 128) // 257).astype(np.uint8)


def check_png(content: bytes) -> None:
    """Check that a PNG file is whole, by the checksum of every chunk; others pass. Raises ValueError.

    Decoders are content with what they can make of a damaged file. Pillow's `verify` does the same in three times the
    time, and keeps other threads waiting.
    """
    if not content.startswith(PNG_START[:8]):
        return
    view, begin, name = memoryview(content), 8, b""
    while name != b"IEND":  # a chunk: length, name, data, checksum of name and data
        name = content[begin + 4 : begin + 8]
        end = begin + 8 + int.from_bytes(content[begin : begin + 4], "big")
        if len(name) < 4 or zlib.crc32(view[begin + 4 : end]) != int.from_bytes(content[end : end + 4], "big"):
            raise ValueError("truncated or damaged PNG")
        begin = end + 4


def png_size(path: Path) -> tuple[int, int] | None:
    """Read a PNG's (height, width) without decoding it; None when it is no whole PNG."""
    try:
        with open(path, "rb") as file:
            start = file.read(len(PNG_START) + 17)  # the header's 13 bytes and its checksum
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            end = file.read()
    except OSError:
        return None
    header = start[len(PNG_START) - 4 : -4]  # with its name, IHDR
    if not start.startswith(PNG_START) or end != PNG_END or zlib.crc32(header) != int.from_bytes(start[-4:], "big"):
        return None
    width, height = struct.unpack_from(">II", header, 4)
    return height, width
