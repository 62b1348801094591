"""Image files of all kinds: values exactly as they are in the file, upright, and one clear line for those not taken."""

import io
import os
import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from utils.image import encode_image, png_size, read_image, read_photo, to_8bit, to_uint8, write_image

HEIGHT, WIDTH = 10, 14
RANDOM = np.random.default_rng(0)
RGB8 = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
RGB16 = RANDOM.integers(0, 65536, (HEIGHT, WIDTH, 3), np.uint16)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values: np.ndarray, *chunks: bytes, size: tuple[int, int] | None = None) -> bytes:
    """A PNG by its specification: (H, W, 1 grey | 2 with alpha | 3 RGB | 4 with alpha) uint8 or uint16."""
    height, width = size or values.shape[:2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    header = struct.pack(">IIBBBBB", width, height, 8 * values.itemsize, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{values.itemsize}").tobytes() for row in values)
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", zlib.compress(rows)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(
    values: np.ndarray, order: str = "<", orientation: int = 1, sample_format: int = 1, photometric: int | None = None
) -> bytes:
    """An uncompressed TIFF by its specification, of (H, W, 1|3)."""
    height, width, channels = values.shape
    photometric = (2 if channels == 3 else 1) if photometric is None else photometric
    pixels = values.astype(values.dtype.newbyteorder(order)).tobytes()
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: photometric, 273: 8, 274: orientation}
    tags |= {277: channels, 278: height, 279: len(pixels), 284: 1, 339: sample_format}
    start = 8 + len(pixels)
    lists = start + 2 + 12 * len(tags) + 4  # where values that do not fit into 4 bytes lie: bits and formats of RGB
    directory, extra = struct.pack(f"{order}H", len(tags)), b""
    for tag, value in tags.items():
        if tag in (258, 339) and channels == 3:
            directory += struct.pack(f"{order}HHII", tag, 3, 3, lists + len(extra))
            extra += struct.pack(f"{order}3H", value, value, value)
        else:
            directory += struct.pack(f"{order}HHII", tag, 4, 1, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}I", start) + pixels + directory + b"\0\0\0\0" + extra


def saved(image: Image.Image, kind: str, **more) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def photo(tmp_path, content: bytes, name: str = "image.png", **more):
    (tmp_path / name).write_bytes(content)
    return read_photo(tmp_path / name, **more)


def refusal(tmp_path, content: bytes, name: str = "image.png", **more) -> str:
    with pytest.raises(ValueError) as caught:
        photo(tmp_path, content, name, **more)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """EXIF's orientations in words: where the file's first row and first column are in the scene."""
    return {
        1: image,  # top, left
        2: image[:, ::-1],  # top, right
        3: image[::-1, ::-1],  # bottom, right
        4: image[::-1],  # bottom, left
        5: image.transpose(1, 0, 2),  # left, top
        6: np.rot90(image, -1),  # right, top: turn clockwise
        7: image[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: np.rot90(image),  # left, bottom: turn counterclockwise
    }[orientation]


# --- values ---


def test_jpeg_is_read_as_pillow_decodes_it(tmp_path):
    content = saved(Image.fromarray(RGB8), "JPEG")
    assert np.array_equal(photo(tmp_path, content).pixels, np.asarray(Image.open(io.BytesIO(content))))


@pytest.mark.parametrize("encode", [png, tiff, partial(tiff, order=">")], ids=["PNG", "TIFF <", "TIFF >"])
@pytest.mark.parametrize("channels, said", [(3, ()), (1, ("grey, repeated in three channels",))])
def test_16_bit_values_are_read_exactly_and_grey_is_repeated_and_said(tmp_path, encode, channels, said):
    values = RGB16[..., :channels]
    pixels, remarks = photo(tmp_path, encode(values))
    assert pixels.dtype == np.uint16
    assert np.array_equal(pixels, np.broadcast_to(values, RGB16.shape))
    assert remarks == said


@pytest.mark.parametrize("grey", [RGB16[..., :1], RGB8[..., :1]], ids=["16 bit", "8 bit"])
def test_tiff_whose_white_is_zero_is_not_read_as_its_negative(tmp_path, grey):
    pixels, _ = photo(tmp_path, tiff(np.iinfo(grey.dtype).max - grey, photometric=0))
    assert np.array_equal(pixels, grey[..., [0, 0, 0]])


@pytest.mark.parametrize("grey", [RGB8[..., 0], RGB8[..., 0] > 127], ids=["8 bit", "1 bit"])
def test_grey_is_repeated_and_said(tmp_path, grey):
    pixels, remarks = photo(tmp_path, saved(Image.fromarray(grey), "PNG"))
    assert np.array_equal(pixels, (grey * np.uint8(255 if grey.dtype == bool else 1))[:, :, None].repeat(3, 2))
    assert remarks == ("grey, repeated in three channels",)


@pytest.mark.parametrize("values", [RGB8, RGB16, RGB8[..., :1], RGB16[..., :1]], ids=["8", "16", "grey 8", "grey 16"])
def test_opaque_alpha_is_dropped_and_a_transparent_pixel_refused(tmp_path, values):
    alpha = np.full_like(values[..., :1], np.iinfo(values.dtype).max)
    pixels, _ = photo(tmp_path, png(np.concatenate([values, alpha], axis=2)))
    assert np.array_equal(pixels, np.broadcast_to(values, (HEIGHT, WIDTH, 3)))
    alpha[3, 4] -= 1
    assert "transparent pixels" in refusal(tmp_path, png(np.concatenate([values, alpha], axis=2)))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF"])
def test_palette_is_looked_up(tmp_path, kind):
    image = Image.fromarray(RGB8 // 128 * 200).quantize(8)
    pixels, remarks = photo(tmp_path, saved(image, kind))
    assert np.array_equal(pixels, np.asarray(image.convert("RGB")))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) == 8
    assert remarks == ()


def test_transparent_colour_of_a_palette_is_refused_only_where_it_is_used(tmp_path):
    image = Image.fromarray(np.array([[0, 1] * 5] * 10, np.uint8))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert photo(tmp_path, saved(image, "PNG", transparency=2)).pixels[0, :2].tolist() == [[255, 0, 0], [0, 255, 0]]
    assert "transparent pixels" in refusal(tmp_path, saved(image, "PNG", transparency=1))


def test_transparent_colour_of_rgb_is_refused(tmp_path):
    for values in (RGB8, RGB16):
        key = png_chunk(b"tRNS", struct.pack(">3H", *map(int, values[0, 0])))
        assert "transparent" in refusal(tmp_path, png(values, key))


# --- the right way up ---


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "WEBP"])
def test_8_bit_image_is_turned_upright(tmp_path, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = saved(Image.fromarray(RGB8), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    plain = photo(tmp_path, saved(Image.fromarray(RGB8), kind, **({"lossless": True} if kind == "WEBP" else {}))).pixels
    assert np.array_equal(photo(tmp_path, content).pixels, upright(plain, orientation))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_image_is_turned_upright(tmp_path, kind, channels, orientation):
    exif = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    values = RGB16[..., :channels]
    content = tiff(values, orientation=orientation) if kind == "TIFF" else png(values, png_chunk(b"eXIf", exif))
    expected = upright(np.broadcast_to(values, (HEIGHT, WIDTH, 3)), orientation)
    assert np.array_equal(photo(tmp_path, content).pixels, expected)


def exif_chunk(orientation: int, order: str = ">", before: bytes = b"") -> bytes:
    mark = b"MM" if order == ">" else b"II"
    return png_chunk(
        b"eXIf", before + mark + struct.pack(f"{order}HIHHHIHHI", 42, 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    )


def turn(path: os.PathLike, orientation: int) -> None:
    """Give a PNG file an orientation."""
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:33] + exif_chunk(orientation) + content[33:])


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA"])
@pytest.mark.parametrize("place", ["before the pixels", "behind the pixels", "behind a large profile", "Exif in front"])
def test_size_of_a_png_is_the_one_that_it_is_decoded_to(tmp_path, mode, place):
    image = Image.fromarray(RGB8).convert(mode)
    if mode in ("RGBA", "LA"):
        image.putalpha(255)
    plain = saved(image, "PNG")
    header, rest = plain[:33], plain[33:]  # IHDR, and what follows
    for orientation in range(1, 9):
        content = {
            "before the pixels": header + exif_chunk(orientation) + rest,
            "behind the pixels": plain[:-12] + exif_chunk(orientation, "<") + plain[-12:],
            "behind a large profile": header + png_chunk(b"prIv", bytes(100_000)) + exif_chunk(orientation) + rest,
            "Exif in front": header + exif_chunk(orientation, before=b"Exif\0\0") + rest,
        }[place]
        pixels = photo(tmp_path, content).pixels
        assert np.array_equal(pixels, upright(np.asarray(image.convert("RGB")), orientation))
        assert png_size(tmp_path / "image.png") == pixels.shape[:2]


@pytest.mark.parametrize(
    "chunk", [exif_chunk(0), exif_chunk(9), png_chunk(b"eXIf", b"MM\0*garb"), exif_chunk(6)[:-1] + b"?"]
)
def test_orientation_that_says_nothing_leaves_a_png_as_it_is(tmp_path, chunk):
    plain = png(RGB8)
    (tmp_path / "image.png").write_bytes(plain[:33] + chunk + plain[33:])
    assert png_size(tmp_path / "image.png") == RGB8.shape[:2]
    if chunk[-1:] != b"?":  # of a wrong checksum, for which the whole file is refused
        assert np.array_equal(read_photo(tmp_path / "image.png").pixels, RGB8)


def test_what_the_system_does_not_let_us_read_is_not_called_damaged(tmp_path):
    assert png_size(tmp_path / "absent.png") is None
    with pytest.raises(OSError, match="too long"):
        png_size(tmp_path / f"{'x' * 300}.png")


def test_damaged_exif_data_do_not_cost_the_image(tmp_path):
    plain = saved(Image.fromarray(RGB8), "JPEG")
    for garbage in (b"Exif\0\0garbage!", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12"):
        content = plain[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(garbage)) + garbage + plain[2:]
        assert np.array_equal(photo(tmp_path, content).pixels, photo(tmp_path, plain).pixels)


# --- every layout of a TIFF ---


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("layout", [{"rowsperstrip": 7}, {"tile": (32, 32)}, {}], ids=["strips", "tiles", "one strip"])
@pytest.mark.parametrize(
    "channels, planes", [(1, "contig"), (3, "contig"), (3, "separate"), (4, "contig"), (4, "separate")]
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_every_layout_of_a_tiff_is_read_as_tifffile_writes_it(tmp_path, kind, channels, planes, layout, compression):
    """In both byte orders, as BigTIFF, with and without differences of neighbours, and in all eight orientations."""
    values = RANDOM.integers(0, np.iinfo(kind).max + 1, (40, 50, channels), kind)
    values[..., 3:] = np.iinfo(kind).max
    stored = values[..., 0] if channels == 1 else values.transpose(2, 0, 1) if planes == "separate" else values
    colours = {"photometric": "minisblack"} if channels == 1 else {"photometric": "rgb", "planarconfig": planes}
    alpha = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    for orientation in range(1, 9):
        big, predictor, order = orientation % 3 == 0, orientation % 2 == 0 and compression, "<>"[orientation > 4]
        tifffile.imwrite(
            tmp_path / "a.tif",
            np.ascontiguousarray(stored),
            **(colours | alpha | layout),
            compression=compression,
            predictor=bool(predictor),
            bigtiff=big,
            byteorder="<" if big else order,
            extratags=[(0x0112, "H", 1, orientation, True)],
        )
        expected = upright(np.broadcast_to(values[..., :3], (40, 50, 3)), orientation)
        pixels = read_photo(tmp_path / "a.tif").pixels
        assert pixels.dtype == kind
        assert np.array_equal(pixels, expected), orientation


def test_transparent_plane_of_a_tiff_is_refused(tmp_path):
    values = np.full((4, 40, 50), 65535, np.uint16)
    values[3, 5, 6] -= 1
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate", extrasamples=["unassalpha"]
    )
    with pytest.raises(ValueError, match=r"a\.tif: has transparent pixels"):
        read_photo(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "mode, compression",
    [
        *((mode, compression) for mode in ("RGB", "P", "I;16") for compression in ("tiff_lzw", "packbits")),
        *(("RGB", "jpeg"), ("L", "jpeg"), ("YCbCr", "jpeg"), ("YCbCr", "tiff_lzw"), ("1", "group4")),
    ],
)
def test_compressed_tiffs_of_all_orientations_are_read_as_pillow_reads_them(tmp_path, mode, compression):
    image = Image.fromarray(RGB16[..., 0]) if mode == "I;16" else Image.fromarray(RGB8).convert(mode)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        plain, turned = (saved(image, "TIFF", compression=compression, **more) for more in ({}, {"exif": exif}))
        other = Image.open(io.BytesIO(plain))
        expected = np.asarray(other if mode == "I;16" else other.convert("RGB"))
        expected = np.broadcast_to(expected.reshape(HEIGHT, WIDTH, -1), (HEIGHT, WIDTH, 3))
        assert np.array_equal(photo(tmp_path, turned).pixels, upright(expected, orientation))


@pytest.mark.parametrize("first", [True, False], ids=["preview first", "preview last"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "preview, marks",
    [((20, 25), {}), ((8, 16), {}), ((30, 38), {}), ((38, 48), {"subfiletype": 1}), ((80, 100), {"subfiletype": 1})],
    ids=["half", "other shape", "three quarters", "marked", "marked and larger"],
)
@pytest.mark.parametrize("planes", ["contig", "separate"])
def test_full_picture_of_a_tiff_is_taken_beside_its_preview(tmp_path, first, kind, preview, marks, planes):
    values = RANDOM.integers(0, np.iinfo(kind).max + 1, (40, 50, 3), kind)
    stored = np.ascontiguousarray(values.transpose(2, 0, 1) if planes == "separate" else values)
    full = ((stored,), {"photometric": "rgb", "planarconfig": planes, "extratags": [(0x0112, "H", 1, 6, True)]})
    small = ((np.zeros((*preview, 3), np.uint8),), {"photometric": "rgb", **marks})
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for data, how in (small, full) if first else (full, small):
            file.write(*data, metadata=None, **how)
    assert np.array_equal(read_photo(tmp_path / "a.tif").pixels, np.rot90(values, -1))


@pytest.mark.parametrize("size", [(40, 50), (39, 50), (40, 30), (50, 40)])
def test_pages_of_a_tiff_are_not_taken_for_previews(tmp_path, size):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for shape in ((40, 50), size, (4, 5)):
            file.write(np.zeros((*shape, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match=r"a\.tif: holds 3 pictures"):
        read_photo(tmp_path / "a.tif")


def test_preview_of_a_raw_file_is_not_taken_for_the_picture(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(np.zeros((8, 10, 3), np.uint8), photometric="rgb", subfiletype=1, subifds=1)
        file.write(np.zeros((40, 50), np.uint16), photometric="minisblack")
    with pytest.raises(ValueError, match=r"a\.tif: holds only a preview"):
        read_photo(tmp_path / "a.tif")


# --- what else cameras write ---


def test_first_of_a_phones_pictures_in_one_jpeg_is_taken(tmp_path):
    first, second = Image.fromarray(RGB8), Image.fromarray(RGB8[:5, :7])
    content = saved(first, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(content)).n_frames == 2
    assert np.array_equal(photo(tmp_path, content, "a.jpg").pixels, photo(tmp_path, saved(first, "JPEG")).pixels)


def test_colour_profile_other_than_srgb_is_said(tmp_path):
    profiles = [ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes() for name in ("sRGB", "XYZ")]
    remarks = [photo(tmp_path, saved(Image.fromarray(RGB8), "PNG", icc_profile=one)).remarks for one in profiles]
    assert remarks[0] == ()
    assert "colour profile" in remarks[1][0]
    assert "sRGB" in remarks[1][0]
    damaged = photo(tmp_path, saved(Image.fromarray(RGB8), "PNG", icc_profile=b"not a profile"))
    assert "of unknown name" in damaged.remarks[0]


# --- what is refused ---

NOISE = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8))
OTHER = Image.fromarray(RANDOM.integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "not a readable image (0 bytes"),
        (b"no image at all", "not a readable image (15 bytes"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
        (saved(Image.fromarray(RGB8).convert("CMYK"), "JPEG"), "its colours are CMYK"),
        (saved(Image.fromarray(RGB8).convert("CMYK"), "TIFF"), "its colours are CMYK"),
        (saved(Image.fromarray(RGB8).convert("LAB"), "TIFF"), "its colours are LAB"),
        (saved(NOISE, "GIF", save_all=True, append_images=[OTHER]), "holds 2 pictures"),
        (saved(NOISE, "PNG", save_all=True, append_images=[OTHER]), "holds 2 pictures"),
        (saved(NOISE, "WEBP", save_all=True, append_images=[OTHER]), "holds 2 pictures"),
        (saved(NOISE, "TIFF", save_all=True, append_images=[OTHER]), "holds 2 pictures"),
        (tiff(RGB16.astype(np.float32)[..., :1], sample_format=3), "signed or fractions"),
        (tiff(RGB16.astype(np.int16)[..., :1], sample_format=2), "signed or fractions"),
        (tiff(RGB16.astype(np.uint32)[..., :1]), "expected 8-bit or 16-bit"),
    ],
    ids=[
        "empty",
        "text",
        "PostScript",
        "CMYK-JPEG",
        "CMYK-TIFF",
        "LAB",
        "GIF",
        "APNG",
        "WebP",
        "pages",
        "float",
        "signed",
        "32-bit",
    ],
)
def test_unfit_file_is_refused_in_one_line(tmp_path, content, words):
    assert words in refusal(tmp_path, content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_file_is_refused_and_no_library_adds_a_word(tmp_path, capfd, kind, share):
    content = saved(NOISE, kind)
    assert "not a readable image" in refusal(tmp_path, content[: int(share * len(content))])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [png(RGB16), tiff(RGB16), encode_image(RGB16, ".tif")], ids=["PNG", "TIFF", "LZW"])
@pytest.mark.parametrize("cut", [5, 60])
def test_truncated_16_bit_file_is_refused(tmp_path, content, cut):
    assert "not a readable image" in refusal(tmp_path, content[:-cut])


def test_flipped_bit_is_found_by_the_checksum(tmp_path):
    content = bytearray(png(RGB8))
    content[60] ^= 1
    assert "not a readable image" in refusal(tmp_path, bytes(content))


@pytest.mark.parametrize("side, limit", [(30000, 400), (20, 0.0003)])
def test_image_above_the_limit_is_refused_by_its_header(tmp_path, side, limit):
    bomb = png(np.zeros((1, 1, 3), np.uint8), size=(side, side))
    message = refusal(tmp_path, bomb, max_megapixels=limit)
    assert f"{side}x{side} pixels, expected at most {limit:g} megapixels" in message


def test_missing_file_and_what_is_no_file_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # reading it would wait forever
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    for name, words in {"a": "no such file", "pipe": "not a file", "folder": "not a file", "self": "no such"}.items():
        with pytest.raises(ValueError, match=rf"{name}\.png: {words}"):
            read_photo(tmp_path / f"{name}.png")


def test_16_bit_values_are_rounded_to_the_nearest_8_bit_one(tmp_path):
    (tmp_path / "a.png").write_bytes(png(RGB16))
    assert np.array_equal(read_image(tmp_path / "a.png"), np.floor(RGB16 / 257 + 0.5))
    values = np.arange(65536, dtype=np.uint16)
    assert np.array_equal(to_8bit(values), np.floor(values / 65535 * 255 + 0.5))


def test_conversion_of_fractions_to_8_bit_clips_and_rounds():
    values = np.array([[[-1.0, 0.5 / 255 + 1e-9, 2.0]]])
    np.testing.assert_array_equal(to_uint8(values), [[[0, 1, 255]]])


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html>",
        b"\xef\xbb\xbf\n <HTML lang='en'>",
        b"<!-- a --><html>",
        b"<?xml version='1.0'?><Error/>",
    ],
)
def test_download_that_is_a_web_page_is_called_one(tmp_path, content):
    assert "(a web page, perhaps of a failed download; download the file itself)" in refusal(tmp_path, content)


# --- writing ---


@pytest.mark.parametrize("suffix, most", [(".webp", 16383), (".jpg", 65500), (".png", 10**6), (".tif", 2**20)])
@pytest.mark.parametrize("axis", [0, 1])
def test_longest_image_of_a_format_is_written_and_a_longer_one_named(tmp_path, suffix, most, axis):
    shape = [1, 1, 1]
    shape[axis] = most
    write_image(tmp_path / f"a{suffix}", np.zeros(shape, np.uint8))
    assert read_photo(tmp_path / f"a{suffix}", channels=1).pixels.shape == tuple(shape)
    shape[axis] += 1
    message = rf"b\{suffix}: {shape[0]}x{shape[1]} pixels, but \{suffix} holds at most {most} a side"
    with pytest.raises(ValueError, match=message):
        write_image(tmp_path / f"b{suffix}", np.zeros(shape, np.uint8))
    assert not (tmp_path / f"b{suffix}").exists()


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff", ".bmp", ".webp"])
@pytest.mark.parametrize("values", [RGB8, RGB16], ids=["8 bit", "16 bit"])
def test_values_are_written_and_read_exactly(tmp_path, suffix, values):
    if values is RGB16 and suffix in (".bmp", ".webp"):
        with pytest.raises(ValueError, match=rf"a\{suffix}: expected an \(H, W, 3\) uint8 array"):
            write_image(tmp_path / f"a{suffix}", values)
        assert not list(tmp_path.iterdir())
        return
    write_image(tmp_path / f"a{suffix}", values)
    pixels, remarks = read_photo(tmp_path / f"a{suffix}")
    assert pixels.dtype == values.dtype
    assert np.array_equal(pixels, values)
    assert remarks == ()


def test_jpeg_keeps_the_full_resolution_of_colours():
    image = Image.open(io.BytesIO(encode_image(RGB8, ".jpg")))
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # horizontal and vertical sampling
