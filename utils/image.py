"""Images on disk and as arrays. On disk sRGB, in memory (H, W, C), `uint8` where nothing else is said.

C is 3, RGB, or 1, grey: what a function is asked for, whatever the file holds.
"""

import contextlib
import io
import math
import struct
import warnings
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms
from PIL.TiffImagePlugin import TiffImageFile

from utils.files import ENDS, web_page, write_bytes

PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"  # width and height follow, 4 bytes each
IHDR_END = 33  # bytes until the header's end, after which text stands
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif")
# Photographs that are not read: named where they lie beside others, so that none is missed silently.
UNREAD_SUFFIXES = (
    *(".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".jpe", ".jfif", ".psd", ".exr"),
    *(".dng", ".raw", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf"),
    *(".rw2", ".rwl", ".pef", ".srw", ".3fr", ".iiq", ".x3f"),
)
NAMED_UNREAD = 5  # of a folder and suffix, by their names
PHOTO_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF")  # Pillow's names
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's
COLOUR_MODES = ("RGB", "RGBA", "P", "PA")
SIXTEEN_BIT = (".png", ".tif", ".tiff")  # formats that hold 16-bit values
JPEG_QUALITY = 95
FULL_COLOUR = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
ENCODING = {
    ".jpg": (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, *FULL_COLOUR),
    ".webp": (cv2.IMWRITE_WEBP_QUALITY, 101),  # above 100: lossless
}
# For PNGs of photographs, whose noise leaves no runs of equal bytes: made sooner, 8 % smaller to 3 % larger.
PHOTOGRAPH: tuple[int, ...] = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY)
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # before OpenCV 4.12 there is no choice
    PHOTOGRAPH += (cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG)
# TIFF's tags, and those that say how the pixels are stored: sizes, compression, places, colours.
REDUCED, OLD_REDUCED, BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, PLANES = 254, 255, 258, 262, 274, 277, 284
INSIDE, EXTRA_SAMPLES, SAMPLE_FORMAT = 330, 338, 339
STRIPS, TILES = (273, 279), (324, 325)  # where they begin, and their bytes
STORAGE = (
    *(256, 257, BITS, 259, PHOTOMETRIC, 266, SAMPLES, 278, PLANES, 292, 293, 317, 320, 322, 323, EXTRA_SAMPLES),
    *(SAMPLE_FORMAT, 347, *range(512, 522), 529, 530, 531, 532, *STRIPS, *TILES),
)
EXIF, EXPOSURE_TIME, ISO_SPEED = 0x8769, 33434, 34855  # of EXIF: its directory, and tags in it
ISO_END = 65535  # of the tag of 16 bits: "this or more"
SENSITIVITY_TYPE, STANDARD_OUTPUT, RECOMMENDED, SPEED = 34864, 34865, 34866, 34867
SENSITIVITIES: dict[int | None, tuple[int, ...]] = {  # by SensitivityType: the tags that hold it
    None: (RECOMMENDED, STANDARD_OUTPUT, SPEED),
    **{1: (STANDARD_OUTPUT,), 2: (RECOMMENDED,), 3: (SPEED,), 4: (STANDARD_OUTPUT, RECOMMENDED)},
    **{5: (STANDARD_OUTPUT, SPEED), 6: (RECOMMENDED, SPEED), 7: (STANDARD_OUTPUT, RECOMMENDED, SPEED)},
}
MAX_MEGAPIXELS = 400  # a few bytes can promise any size
# Pixels of an image's longer side that a format or its library holds; OpenCV reads no more of any, and 2**30 in all.
LARGEST_SIDE = {".webp": 16383, ".jpg": 65500, ".jpeg": 65500, ".gif": 65535, ".png": 10**6}
LARGEST_READ, MOST_READ = 2**20, 2**30
PNG_TAIL = 2**16  # bytes at a PNG's end in which its EXIF data are looked for

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit; ours is checked whenever a header is read
warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged metadata
_set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel  # OpenCV 4, 5
_set_log_level(0)  # silent: what it cannot decode is told once, in our words


class Photo(NamedTuple):
    """An image, (H, W, C) uint8 or uint16, and in words what reading it has changed."""

    pixels: np.ndarray
    remarks: tuple[str, ...]


class _UnfitError(ValueError):
    """Says why an image that is whole is not taken."""


def name_unread(paths: Iterable[Path], suffixes: Collection[str] = PHOTO_SUFFIXES) -> list[str]:
    """Name the photographs of other formats than these, in a line for each folder and suffix."""
    unread: dict[tuple[Path, str], list[str]] = {}
    for path in paths:
        suffix = path.suffix.lower()
        if suffix in (*PHOTO_SUFFIXES, *UNREAD_SUFFIXES) and suffix not in suffixes and path.name[0] != ".":
            unread.setdefault((path.parent, suffix), []).append(path.name)
    expected = "PNG" if ".tif" not in suffixes else "PNG or TIFF"
    lines = []
    for (folder, suffix), names in sorted(unread.items()):
        more = f" and {len(names) - NAMED_UNREAD} more" if len(names) > NAMED_UNREAD else ""
        named = f"{', '.join(sorted(names)[:NAMED_UNREAD])}{more}"
        lines.append(f"{folder}: {suffix} is not read: {named}; convert to {expected} to use")
    return lines


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """Read an image file as `read_photo` does and round 16-bit values to 8 bit: (H, W, C) uint8."""
    pixels = read_photo(path, channels=channels).pixels
    return to_8bit(pixels) if pixels.dtype == np.uint16 else pixels


def read_photo(path: str | Path, max_megapixels: float = MAX_MEGAPIXELS, channels: int = 3) -> Photo:
    """Read an image as cameras and editors leave it: upright, and in its own precision of 8 or 16 bit.

    Grey images are repeated in three channels, or coloured ones turned grey where one is asked for (luma of ITU-R
    BT.601); palettes are looked up, a fully opaque alpha channel is dropped. Of several pictures in a phone's JPEG
    (MPO) the first is taken, of those in a TIFF the one that the others are previews of. The values count as sRGB,
    whatever colour profile the file names.

    Pillow reads the header, which says what is to be refused before anything is decoded, and OpenCV the pixels.

    Raises:
        ValueError: The file is missing, damaged, too large, animated, transparent, or neither grey nor RGB; the
            message names it. A JPEG whose data is damaged in the middle decodes, as everywhere, to what is left.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    content = b""
    try:
        content = path.read_bytes()
        with Image.open(io.BytesIO(content), formats=PHOTO_FORMATS) as header:
            _seek_picture(header)
            _check_header(header, max_megapixels)
            check_png(content)
            return _decode(content, header, channels)
    except _UnfitError as reason:
        raise ValueError(f"{path}: {reason}") from None
    except MemoryError:
        raise ValueError(f"{path}: too large for the memory") from None
    except Exception as error:  # Pillow and OpenCV raise what they like (SyntaxError, struct.error, ...)
        if isinstance(error, OSError) and error.errno:
            raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
        what = web_page(content) or f"{len(content)} bytes; truncated, damaged or another format"
        raise ValueError(f"{path}: not a readable image ({what})") from None


def read_exposure(path: str | Path) -> tuple[int | None, int | None]:
    """Read ISO and shutter, in 1 / seconds, from a photograph's EXIF data; None for what it does not say."""
    try:
        with Image.open(path, formats=PHOTO_FORMATS) as header:
            tags = header.getexif().get_ifd(EXIF)
            if not tags:
                _seek_picture(header)  # past a preview
                tags = header.getexif().get_ifd(EXIF)
        return _iso(tags), _shutter(tags)
    except Exception:  # damaged in whatever way: whoever decodes it will say so
        return None, None


def _seek_picture(image: Image.Image) -> None:
    """Go to the picture of a file, past the previews in a TIFF. Raise _UnfitError for several pictures or none."""
    frames = getattr(image, "n_frames", 1)
    if not isinstance(image, TiffImageFile):
        if frames > 1 and image.format != "MPO":
            raise _UnfitError(f"holds {frames} pictures (an animation or pages), expected one")
        return
    sizes, reduced = [], []
    for number in range(frames):
        image.seek(number)
        tags = image.tag_v2
        sizes.append((tags[256], tags[257]))
        reduced.append(bool(tags.get(REDUCED, 0) & 1) or tags.get(OLD_REDUCED) == 2)
        if reduced[-1] and frames == 1 and INSIDE in tags:
            raise _UnfitError("holds only a preview outside of its sub-directories, as raw files do; develop it first")
    full = [number for number in range(frames) if not reduced[number]] or list(range(frames))
    largest = max(full, key=lambda number: sizes[number][0] * sizes[number][1])
    pages = [number for number in full if number != largest and not _is_preview(sizes[number], sizes[largest])]
    if pages:
        raise _UnfitError(f"holds {frames} pictures (an animation or pages), expected one")
    image.seek(largest)


def _is_preview(size: tuple[int, int], full: tuple[int, int]) -> bool:
    """Return whether a picture may be a smaller copy of another: of its shape, or at most half as long and wide."""
    (short, long), (full_short, full_long) = sorted(size), sorted(full)
    alike = abs(short * full_long - long * full_short) <= full_long  # to a pixel
    return (alike and long < full_long) or (2 * long <= full_long and 2 * short <= full_short)


def _iso(tags: Mapping[int, Any]) -> int | None:
    """Read the ISO: the published tag ends at 65535, which means that others say it (EXIF 2.3, 4.6.5, sensitivity)."""
    found = []
    kinds = SENSITIVITIES.get(_first(tags.get(SENSITIVITY_TYPE)), SENSITIVITIES[None])
    for tag in (ISO_SPEED, *kinds, *SENSITIVITIES[None]):
        value = _first(tags.get(tag))
        with contextlib.suppress(TypeError, ValueError, ArithmeticError):
            found.append(int(value))
    values = [value for value in found if value > 0]
    return next((value for value in values if value != ISO_END), values[0] if values else None)


def _shutter(tags: Mapping[int, Any]) -> int | None:
    """Read the exposure time in 1 / seconds; None unless it is a positive number."""
    with contextlib.suppress(TypeError, ValueError, ArithmeticError):
        seconds = float(_first(tags.get(EXPOSURE_TIME)))
        if 0 < seconds < math.inf:
            return max(1, round(1 / seconds))
    return None


def _first(value: Any) -> Any:
    """Return the first of several values, which the standard allows."""
    return value[0] if isinstance(value, tuple) and value else value


def _check_header(image: Image.Image, max_megapixels: float) -> None:
    """Refuse what is not to be decoded."""
    size = f"{image.height}x{image.width} pixels"
    if image.width * image.height > min(max_megapixels * 1e6, MOST_READ):
        most = min(max_megapixels, MOST_READ // 10**6)
        raise _UnfitError(f"{size}, expected at most {most:g} megapixels")
    longest = _longest_side(f".{image.format}")
    if max(image.size) > longest:
        raise _UnfitError(f"{size}, expected at most {longest} a side")
    tags = getattr(image, "tag_v2", {})
    if set(tags.get(SAMPLE_FORMAT, (1,))) != {1}:
        raise _UnfitError("its values are signed or fractions, expected 8-bit or 16-bit grey or RGB")
    if image.mode not in GREY_MODES + COLOUR_MODES or max(tags.get(BITS, (8,))) not in (1, 2, 4, 8, 16):
        raise _UnfitError(f"its colours are {image.mode}, expected 8-bit or 16-bit grey or RGB")


def _longest_side(suffix: str) -> int:
    return LARGEST_SIDE.get(suffix.lower(), LARGEST_READ)


def _decode(content: bytes, header: Image.Image, channels: int) -> Photo:
    """Decode an image file whose header has been checked."""
    orientation = 1
    if header.format == "PNG":
        orientation = _png_orientation(io.BytesIO(content))
    if header.format == "WEBP":  # which OpenCV turns from 4.13 on
        orientation = _orientation(header.info.get("exif", b""))
    if isinstance(header, TiffImageFile):
        orientation = header.tag_v2.get(ORIENTATION, 1)
        parts = _tiff_parts(content, header)
    elif header.format == "GIF":  # which OpenCV reads from 4.12 on
        as_png = io.BytesIO()
        header.save(as_png, "PNG", compress_level=1)
        parts = [as_png.getvalue()]
    else:
        parts = [content]
    if len(parts) > 1:
        planes = [_pixels(part, cv2.IMREAD_UNCHANGED) for part in parts]
        _require_opaque(cv2.merge(planes))
        bgr = cv2.merge(planes[2::-1])
    else:
        if header.has_transparency_data:
            _require_opaque(_pixels(parts[0], cv2.IMREAD_UNCHANGED))
        upright = cv2.IMREAD_IGNORE_ORIENTATION if header.format in ("PNG", "TIFF", "WEBP") else 0
        bgr = _pixels(parts[0], cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | upright)
    if bgr.dtype == np.uint16 and getattr(header, "tag_v2", {}).get(PHOTOMETRIC) == 0:
        bgr = 65535 - bgr  # white is zero, which OpenCV heeds in 8-bit files only
    bgr = _upright(bgr, orientation)
    is_grey = header.mode in GREY_MODES
    if channels == 1:
        return Photo(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY)[:, :, None], () if is_grey else ("its colours turned grey",))
    remarks = ("grey, repeated in three channels",) if is_grey else _profile_remark(header)
    return Photo(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), remarks)


def _require_opaque(image: np.ndarray) -> None:
    """Raise _UnfitError for transparency; `image` is as the file has it: grey, three channels, or four with alpha."""
    if image.ndim == 2:
        raise _UnfitError("has a transparent grey level, expected an opaque image")
    if image.shape[2] == 4 and image[:, :, 3].min() < np.iinfo(image.dtype).max:
        raise _UnfitError("has transparent pixels, expected an opaque RGB image")


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turn an image as EXIF's number from 1 to 8 says; others say nothing."""
    if orientation in (5, 6, 7, 8):
        image = cv2.transpose(image)
    mirrored = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # 1: left and right, 0: top and bottom, -1: both
    return image if mirrored is None else cv2.flip(image, mirrored)


def _tiff_parts(content: bytes, image: TiffImageFile) -> list[bytes]:
    """Rewrite the chosen picture of a TIFF as files that OpenCV decodes right: one, or one for each 16-bit plane.

    OpenCV takes the first picture of a file, turns tiles one by one, and mixes up 16-bit colours that are stored in
    planes (https://github.com/opencv/opencv, TiffDecoder). The pixels stay where they are: new tags follow them.
    """
    tags = image.tag_v2
    planes = len(image.getbands()) if tags.get(PLANES, 1) == 2 and max(tags.get(BITS, (1,))) == 16 else 1
    if planes == 1 and tags.get(ORIENTATION, 1) == 1 and getattr(image, "n_frames", 1) == 1:
        return [content]
    stored = {tag: tags[tag] for tag in STORAGE if tag in tags}
    if planes == 1:
        return [_with_tags(content, stored)]
    stored |= {BITS: 16, PHOTOMETRIC: 1, SAMPLES: 1, PLANES: 1, SAMPLE_FORMAT: 1}
    stored.pop(EXTRA_SAMPLES, None)
    places = [tag for tag in (*STRIPS, *TILES) if tag in stored]
    parts = []
    for plane in range(planes):
        of_plane = {tag: np.reshape(stored[tag], (planes, -1))[plane].tolist() for tag in places}
        parts.append(_with_tags(content, stored | of_plane))
    return parts


def _with_tags(content: bytes, tags: dict) -> bytes:
    """Let a TIFF, also a BigTIFF, have these tags and no others, as a classic one."""
    order = "<" if content[:2] == b"II" else ">"
    place = len(content) + len(content) % 2
    entries, values = [struct.pack(f"{order}H", len(tags))], b""
    beyond = place + 2 + 12 * len(tags) + 4  # where values lie that have no room in their entry
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, bytes | tuple | list) else (value,)
        if isinstance(numbers, bytes):
            kind, data = 7, numbers
        elif all(isinstance(number, int) for number in numbers):
            kind = 3 if max(numbers) < 2**16 else 4
            data = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        else:
            kind, parts = 5, [(number.numerator, number.denominator) for number in numbers]
            data = struct.pack(f"{order}{2 * len(parts)}I", *(part for pair in parts for part in pair))
        if len(data) > 4:
            at, values = struct.pack(f"{order}I", beyond + len(values)), values + data + bytes(len(data) % 2)
        else:
            at = data.ljust(4, b"\0")
        entries.append(struct.pack(f"{order}HHI", tag, kind, len(numbers)) + at)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", place)
    return b"".join((start, content[8:].ljust(place - 8, b"\0"), *entries, bytes(4), values))


def _pixels(content: bytes, flags: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if image is None:
        raise ValueError("OpenCV cannot decode it")
    return image


def _profile_remark(image: Image.Image) -> tuple[str, ...]:
    """Remark on a colour profile other than sRGB."""
    profile = image.info.get("icc_profile")
    if not profile:
        return ()
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile))).strip()
    except (ImageCms.PyCMSError, OSError, TypeError):
        name = "of unknown name"
    return () if "srgb" in name.lower() else (f"its colour profile ({name}) is dropped, the values count as sRGB",)


def jpeg_encoding(quality: int) -> tuple[int, ...]:
    """Return what `encode_image` takes to write JPEG of a quality from 1 to 100, in full colour."""
    return (cv2.IMWRITE_JPEG_QUALITY, quality, *FULL_COLOUR)


def encode_image(image: np.ndarray, suffix: str, encoding: Sequence[int] = ()) -> bytes:
    """Encode (H, W, C) uint8, or uint16 for PNG and TIFF, as the file's content. JPEG: `JPEG_QUALITY`, full colour.

    encoding: OpenCV's flags and their values, such as `PHOTOGRAPH`.
    """
    suffix = suffix.lower()
    types = (np.uint8, np.uint16) if suffix in SIXTEEN_BIT else (np.uint8,)
    if image.dtype not in types or image.ndim != 3 or image.shape[2] not in (1, 3):
        expected = " or ".join(kind.__name__ for kind in types)
        found = f"{image.shape} {image.dtype}"
        raise ValueError(f"expected an (H, W, 3) {expected} array to write, or one of (H, W, 1), got {found}")
    require_room(image.shape, suffix)
    stored = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[2] == 3 else image
    try:
        done, encoded = cv2.imencode(suffix, stored, encoding or ENCODING.get(suffix, ()))
    except cv2.error:  # for some, such as too little memory
        done = False
    if not done:
        raise ValueError(f"{image.shape[0]}x{image.shape[1]} pixels could not be encoded as {suffix}")
    return encoded.tobytes()


def require_room(shape: tuple[int, ...], suffix: str) -> None:
    """Raise ValueError when files of this suffix hold no image as high or wide as this."""
    longest = _longest_side(suffix)
    if max(shape[:2]) > longest:
        raise ValueError(f"{shape[0]}x{shape[1]} pixels, but {suffix} holds at most {longest} a side")


def write_image(
    path: str | Path,
    image: np.ndarray,
    flush: bool = True,
    encoding: Sequence[int] = (),
    text: Mapping[str, str] | None = None,
) -> None:
    """Write (H, W, C) to `path` as `encode_image` and `utils.files` do; the suffix chooses the format.

    text: what a PNG says beside its pixels, Latin-1, for `png_text`.
    """
    path = Path(path)
    try:
        content = encode_image(image, path.suffix, encoding)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    for keyword, words in (text or {}).items():
        content = content[:IHDR_END] + _chunk(b"tEXt", f"{keyword}\0{words}".encode("latin-1")) + content[IHDR_END:]
    write_bytes(path, content, flush)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_text(path: Path) -> dict[str, str]:
    """Read what `write_image` has put beside the pixels of a PNG; empty for any other."""
    with open(path, "rb") as file:
        content = file.read(ENDS)
    found, begin = {}, IHDR_END
    while content[begin + 4 : begin + 8] == b"tEXt":
        end = begin + 8 + int.from_bytes(content[begin : begin + 4], "big")
        keyword, _, words = content[begin + 8 : end].partition(b"\0")
        found[keyword.decode("latin-1")] = words.decode("latin-1")
        begin = end + 4
    return found


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
    """Read the (height, width) that a PNG is decoded to, upright, without decoding it; None when it is no whole PNG.

    Raises OSError where the system does not let the file be read, which says nothing about its content.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            start = file.read(len(PNG_START) + 17)  # the header's 13 bytes and its checksum
            file.seek(max(0, path.stat().st_size - len(PNG_END)))
            end = file.read()
            header = start[len(PNG_START) - 4 : -4]  # with its name, IHDR
            checksum = int.from_bytes(start[-4:], "big")
            if not start.startswith(PNG_START) or end != PNG_END or zlib.crc32(header) != checksum:
                return None
            is_turned = _png_orientation(file) in (5, 6, 7, 8)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    width, height = struct.unpack_from(">II", header, 4)
    return (width, height) if is_turned else (height, width)


def _png_orientation(file: BinaryIO) -> int:
    """Read the orientation in a PNG's EXIF data: a chunk before the pixels or close to the file's end; 1 without."""
    file.seek(IHDR_END)
    while (chunk := file.read(8))[4:] not in (b"IDAT", b"eXIf", b""):
        file.seek(int.from_bytes(chunk[:4], "big") + 4, io.SEEK_CUR)
    if chunk[4:] == b"IDAT":  # then behind them
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - PNG_TAIL))
        tail = file.read()
        place = tail.find(b"eXIf") - 4
        if place < 0:
            return 1
        file.seek(max(0, size - PNG_TAIL) + place)
        chunk = file.read(8)
    length = int.from_bytes(chunk[:4], "big")
    data, checksum = (file.read(length) if length <= PNG_TAIL else b""), file.read(4)
    return _orientation(data) if zlib.crc32(b"eXIf" + data) == int.from_bytes(checksum, "big") else 1


def _orientation(data: bytes) -> int:
    """Read the orientation in EXIF data, a number from 1 to 8; 1 where they do not say it."""
    try:
        exif = Image.Exif()
        exif.load(data)
        orientation: int = exif.get(ORIENTATION, 1)
    except Exception:  # damaged in whatever way
        return 1
    return orientation if orientation in range(1, 9) else 1
