"""The one door for pictures: every kind of file through every door alike, trees, masks, sizes, ranges and boxes."""

import io
import os
import pickle
import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cnncourse import datasets, pictures, scaling
from cnncourse.augmentation import Augmenter, Blur, Mixup, Shift, mix
from cnncourse.datasets import DataError, from_folder, stream_folder
from cnncourse.figures import boxes_and_masks
from cnncourse.pictures import (
    PictureError,
    boxes_to_size,
    check_boxes,
    check_unit,
    picture_tree,
    read_mask,
    read_picture,
    to_size,
)

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 20, 4), np.uint8)
DEEP = RNG.integers(0, 65536, (12, 20, 4)).astype(np.uint16)
RGB = Image.fromarray(PIXELS[..., :3])


def encoded(image, kind, **options) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **options)
    return held.getvalue()


def png(pixels, bits, colour, key=None) -> bytes:
    "A PNG with `bits` a channel, of which Pillow writes only some kinds; `colour` is PNG's number of the kind."
    h, w = pixels.shape[:2]
    rows = pixels.reshape(h, -1).astype(">u2" if bits == 16 else "u1")
    parts = {b"IHDR": struct.pack(">IIBBBBB", w, h, bits, colour, 0, 0, 0)}
    parts |= {b"tRNS": np.array(key, ">u2").tobytes()} if key is not None else {}
    parts |= {b"IDAT": zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)), b"IEND": b""}
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(pixels, order="<", **tags) -> bytes:
    import tifffile

    held = io.BytesIO()
    tifffile.imwrite(held, pixels, byteorder=order, **tags)
    return held.getvalue()


def netpbm(magic, top, values) -> bytes:
    h, w = values.shape[:2]
    head = f"{magic}\n{w} {h}\n{top}\n".encode()
    if magic in ("P2", "P3"):
        return head + " ".join(map(str, values.ravel().tolist())).encode()
    return head + values.astype(">u2" if top > 255 else "u1").tobytes()


def turned(orientation) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(RGB, "JPEG", exif=exif, quality=100)


def files() -> dict[str, bytes]:
    "A picture of each mode in each kind of file that can hold it, under the name that it would have."
    found = {}
    alpha, palette = Image.fromarray(PIXELS), RGB.quantize(16)
    images = {mode: RGB.convert(mode) for mode in ("1", "L", "RGB", "CMYK", "YCbCr", "LAB", "HSV", "RGBX", "F", "I")}
    images |= {"P": palette, "RGBA": alpha, "LA": alpha.convert("LA"), "PA": alpha.convert("PA")}
    images |= {"RGBa": alpha.convert("RGBa"), "La": alpha.convert("LA").convert("La")}
    images["I;16"] = Image.fromarray(DEEP[..., 0])
    kinds = {"PNG": "png", "JPEG": "jpg", "BMP": "bmp", "GIF": "gif", "TIFF": "tif", "WEBP": "webp", "PPM": "ppm"}
    for mode, image in images.items():
        for kind, ending in kinds.items():
            try:
                found[f"{mode.replace(';', '')}_{kind}.{ending}"] = encoded(image, kind)
            except (OSError, KeyError, ValueError):  # this kind cannot hold this mode
                continue
    found["transparent_P.png"] = encoded(palette, "PNG", transparency=3)
    found["transparent_P.gif"] = encoded(palette, "GIF", transparency=3)
    found["transparent_many.png"] = encoded(palette, "PNG", transparency=bytes(range(0, 256, 16)))
    found["transparent_L.png"] = encoded(images["L"], "PNG", transparency=9)
    for bits, step in ((1, 255), (2, 85), (4, 17)):
        found[f"grey{bits}.png"] = encoded(Image.fromarray(PIXELS[..., 0] // step * step), "PNG", bits=bits)
    found |= {f"exif{i}.jpeg": turned(i) for i in range(1, 9)}
    found |= {f"exif{i}.png": encoded(Image.open(io.BytesIO(turned(i))), "PNG") for i in (3, 6)}
    found["lying.jfif"] = turned(8)
    for name, pixels, colour in (("grey", DEEP[..., :1], 0), ("rgb", DEEP[..., :3], 2), ("la", DEEP[..., :2], 4)):
        found[f"{name}16.png"] = png(pixels, 16, colour)
    found |= {"rgba16.png": png(DEEP, 16, 6), "key16.png": png(DEEP[..., :3], 16, 2, DEEP[0, 0, :3])}
    for order in "<>":
        name = {"<": "little", ">": "big"}[order]
        found[f"grey16_{name}.tif"] = tiff(DEEP[..., 0], order)
        found[f"rgb16_{name}.tiff"] = tiff(DEEP[..., :3], order, photometric="rgb")
        found[f"rgb16_{name}_zip.tiff"] = tiff(DEEP[..., :3], order, photometric="rgb", compression="zlib")
    for top in (15, 255, 1000, 4095, 65535):
        for magic, ending in (("P2", "pgm"), ("P5", "pgm"), ("P3", "ppm"), ("P6", "pnm")):
            values = DEEP[..., :1] if ending == "pgm" else DEEP[..., :3]
            values = values.astype(int)
            found[f"{magic}_{top}.{ending}"] = netpbm(magic, top, values % (top + 1))
    found["plain.pbm"] = b"P1\n4 2\n0 1 0 1\n1 1 0 0\n"
    found["another_kind_inside.jpg"] = encoded(RGB, "PNG")
    return found


def refused() -> dict[str, tuple[bytes, str]]:
    "Files that are no pictures to us, and what the sentence must say."
    whole = encoded(RGB, "PNG")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"
    return {
        "int32.tif": (tiff(np.arange(64, dtype=np.int32).reshape(8, 8)), "save it with 8 or 16"),
        "float.tif": (tiff(np.ones((8, 8), np.float32)), "save it with 8 or 16"),
        **{
            f"{k}.tif": (tiff(np.ones((8, 8), k)), "8 or 16") for k in ("float16", "float64", "int8", "int16", "uint32")
        },
        "colour_float.tif": (tiff(np.ones((8, 8, 3), np.float32), photometric="rgb"), "save it with 8 or 16 bits"),
        "planar.tif": (tiff(DEEP[:3, :8, :3].copy(), planarconfig="separate", photometric="rgb"), "planar"),
        "empty.png": (b"", "the file is empty"),
        "page.jpg": (b"<html>404 not found</html>", "or it is damaged"),
        "eps.png": (eps, "or it is damaged"),
        "phone.jpg": (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC or AVIF"),
        "cut.png": (whole[: len(whole) // 2], ""),
        "cut.jpg": (encoded(RGB, "JPEG")[:400], ""),
        "cut.pgm": (netpbm("P5", 65535, DEEP[..., 0])[:100], ""),
        "cut.tif": (encoded(RGB, "TIFF", compression="tiff_lzw")[:200], ""),
        "bomb.png": (
            png(np.zeros((10_000, 1), np.uint8), 8, 0).replace(b"\0\0\0\1\0\0'\x10", b"\0\x01\0\0\0\0'\x10"),
            "",
        ),
    }


FILES, REFUSED = files(), refused()
FLAT = ("F_TIFF", "F_PPM", "I_TIFF")  # 32 bits: what a TIFF or PFM keeps of these modes


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    for kind in "ab":
        (root / kind).mkdir()
        Image.new("RGB", (9, 9)).save(root / kind / "0_good.png")
        for name, data in FILES.items():
            (root / kind / name).write_bytes(data)
        for name, (data, _) in REFUSED.items():
            (root / kind / name).write_bytes(data)
    return root


def folder_doors(root, **how) -> dict[str, dict]:
    "What `from_folder` and `stream_folder` make of each file: its pixels, or the reason."
    stream = stream_folder(root, shuffle=False, batch_size=1, scale=False, **how)
    streamed = [x[0] for x, _ in stream]
    names = [str(file) for i, file in enumerate(stream.files) if i not in stream.reasons]
    by_stream = dict(zip(names, streamed, strict=True)) | dict(stream.broken)
    data = from_folder(root, n_test=0, **how)
    return {"stream": by_stream, "held": data}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("gray", [False, True])
def test_every_file_through_every_door_alike(tree, gray):
    doors = folder_doors(tree, size=(8, 12), gray=gray)
    held = sorted(x.tobytes() for x in doors["held"].x_train)
    assert held == sorted(x.tobytes() for x in doors["stream"].values() if not isinstance(x, str))
    assert doors["held"].broken == tuple(sorted((n, x) for n, x in doors["stream"].items() if isinstance(x, str)))
    for name in (*FILES, *REFUSED):
        streamed = doors["stream"][f"a/{name}"]
        for door in (tree / "a" / name, io.BytesIO((tree / "a" / name).read_bytes())):
            if isinstance(streamed, str):
                with pytest.raises(PictureError) as caught:
                    read_picture(door, size=(8, 12), gray=gray)
                assert caught.value.reason == streamed
            else:
                np.testing.assert_array_equal(read_picture(door, size=(8, 12), gray=gray), streamed)
        assert isinstance(streamed, str) == (name in REFUSED or Path(name).stem in FLAT), name


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_is_one_sentence_with_the_name(tree, name):
    with pytest.raises(PictureError) as caught:
        read_picture(tree / "a" / name)
    assert name in str(caught.value) and "\n" not in str(caught.value) and REFUSED[name][1] in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_shape_is_known_from_the_head(tree, name):
    file = tree / "a" / name
    if Path(name).stem in FLAT:
        for door in (read_picture, pictures.picture_shape):
            with pytest.raises(PictureError, match="no fixed range"):
                door(file)
        return
    assert pictures.picture_shape(file) == read_picture(file).shape
    assert read_picture(file, gray=True).shape[0] == 1 and read_picture(file, gray=False).shape[0] == 3


def composite(x):  # (h, w, colours and alpha), 0 to 1
    return (x[..., :-1] * x[..., -1:] + 1 - x[..., -1:]).transpose(2, 0, 1)


EXACT = {
    "grey16.png": DEEP[None, ..., 0] / 65535,
    "rgb16.png": DEEP[..., :3].transpose(2, 0, 1) / 65535,
    "la16.png": composite(DEEP[..., :2] / 65535),
    "rgba16.png": composite(DEEP / 65535),
    "I16_TIFF.tif": DEEP[None, ..., 0] / 65535,
    "I16_PNG.png": DEEP[None, ..., 0] / 65535,
    **{f"grey16_{order}.tif": DEEP[None, ..., 0] / 65535 for order in ("little", "big")},
    **{f"rgb16_{o}{z}.tiff": DEEP[..., :3].transpose(2, 0, 1) / 65535 for o in ("little", "big") for z in ("", "_zip")},
    **{f"P5_{top}.pgm": DEEP[None, ..., 0].astype(int) % (top + 1) / top for top in (1000, 4095, 65535)},
    **{f"P6_{top}.pnm": DEEP[..., :3].astype(int).transpose(2, 0, 1) % (top + 1) / top for top in (1000, 4095, 65535)},
    "P2_65535.pgm": DEEP[None, ..., 0] / 65535,
}


@pytest.mark.parametrize("name", EXACT)
def test_sixteen_bits_are_kept(tree, name):
    np.testing.assert_allclose(read_picture(tree / "a" / name, dtype=np.float64), EXACT[name], atol=1e-12)
    np.testing.assert_array_equal(read_picture(tree / "a" / name), np.rint(EXACT[name] * 255))
    floats = read_picture(tree / "a" / name, dtype=np.float32)
    assert floats.dtype == np.float32 and len(np.unique(floats)) > 150


def test_a_camera_with_12_bits_keeps_its_levels(tmp_path):
    levels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(levels).save(tmp_path / "camera.png")
    assert len(np.unique(read_picture(tmp_path / "camera.png", dtype=np.float32))) == 4096
    np.testing.assert_array_equal(read_picture(tmp_path / "camera.png"), np.rint(levels / 257)[None])


def test_white_may_stand_for_0_in_a_tiff(tmp_path):
    (tmp_path / "x.tif").write_bytes(tiff(DEEP[..., 0], photometric="miniswhite"))
    np.testing.assert_allclose(read_picture(tmp_path / "x.tif", dtype=np.float64)[0], 1 - DEEP[..., 0] / 65535)


def test_transparent_colours_of_16_bits_and_of_few_bits_are_white():
    x = read_picture(io.BytesIO(FILES["key16.png"]))
    assert (x[:, 0, 0] == 255).all()
    for bits in (1, 2, 4, 8):
        values = np.arange(16) % 2**bits
        each = 8 // bits
        packed = [
            sum(int(v) << (8 - bits * (j + 1)) for j, v in enumerate(values[i : i + each])) for i in range(0, 16, each)
        ]
        raw = png(np.array([packed], np.uint8), bits, 0, [1])
        raw = (
            raw[:16]
            + struct.pack(">I", 16)
            + raw[20:29]
            + struct.pack(">I", zlib.crc32(raw[12:16] + struct.pack(">I", 16) + raw[20:29]))
            + raw[33:]
        )
        expected = np.where(values == 1, 255, values * (255 // (2**bits - 1)))
        np.testing.assert_array_equal(read_picture(io.BytesIO(raw))[0, 0], expected)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
)
def test_every_mode_of_pillow(mode):
    "Colours that go through a mode come back as near as the mode is exact; all are opaque."
    smooth = np.stack(np.broadcast_arrays(*np.ogrid[0:120:12j, 40:200:20j], 99), axis=-1).astype(np.uint8)
    image = Image.fromarray(smooth)
    ways = {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa"), "PA": ("RGBA", "PA")}
    for step in ways.get(mode, (mode,)):
        image = image.convert(step)
    assert image.mode == mode
    x = read_picture(image, gray=False).astype(int).transpose(1, 2, 0)
    if mode in ("1", "L", "LA", "La"):
        grey = np.asarray(Image.fromarray(smooth).convert("1" if mode == "1" else "L")).astype(int)
        np.testing.assert_array_equal(x[..., 0], grey * (255 if mode == "1" else 1))
        assert (x == x[..., :1]).all() and read_picture(image).shape[0] == 1
    else:
        assert np.abs(x - smooth).mean() < (30 if mode in ("P", "PA") else 4)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B", "I;16N"])
def test_every_order_of_16_bits(mode):
    raw = DEEP[..., 0].astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    x = read_picture(Image.frombytes(mode, (20, 12), raw))
    np.testing.assert_array_equal(x[0], np.rint(DEEP[..., 0] / 257))


@pytest.mark.parametrize("mode", ["I", "F"])
def test_32_bits_are_refused(mode):
    with pytest.raises(PictureError, match="32 bits a pixel have no fixed range; save it with 8 or 16"):
        read_picture(RGB.convert(mode))


@given(name=st.sampled_from(sorted(FILES)), data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_is_one_sentence_or_a_picture(name, data):
    whole = bytearray(FILES[name])
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole)))]
    for _ in range(data.draw(st.integers(0, 3)) if whole else 0):
        whole[data.draw(st.integers(0, min(len(whole) - 1, 400)))] = data.draw(st.integers(0, 255))
    outcomes = []
    for size in (None, None, 8):
        try:
            outcomes.append(read_picture(io.BytesIO(whole), size=size, gray=False))
        except PictureError as error:
            assert "\n" not in str(error) and error.reason
            outcomes.append(error.reason)
    if isinstance(outcomes[0], str):
        assert outcomes[0] == outcomes[1]
    else:
        np.testing.assert_array_equal(outcomes[0], outcomes[1])
        assert outcomes[0].dtype == np.uint8 and len(outcomes[0]) == 3


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    os.symlink("/dev/zero", tmp_path / "device.png")
    os.symlink(tmp_path / "nowhere", tmp_path / "broken.png")
    for name, why in (
        ("pipe", "it is a pipe"),
        ("folder", "it is a folder"),
        ("device", "it is a device"),
        ("broken", "no such file"),
    ):
        with pytest.raises(PictureError, match=why):
            read_picture(tmp_path / f"{name}.png")
        with pytest.raises(PictureError, match=why):
            read_mask(tmp_path / f"{name}.png")


def test_no_other_program_is_called(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    called = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **how: called.append(args))
    (tmp_path / "x.png").write_bytes(REFUSED["eps.png"][0])
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "EPS"  # Pillow itself would
    with pytest.raises(PictureError):
        read_picture(tmp_path / "x.png")
    assert not called


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    raw = b"".join(b"\0" + bytes(side // 8) for _ in range(4))  # a few rows will do: nothing is decoded
    parts = {b"IHDR": struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0), b"IDAT": zlib.compress(raw), b"IEND": b""}
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts.items()]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    for door in (read_picture, pictures.picture_shape, read_mask):
        with pytest.raises(PictureError, match="pixels") as caught:
            door(tmp_path / "bomb.png")
        assert "truncated" not in str(caught.value)


# A size


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("shape", [(32, 128), (128, 32), (33, 50), (20, 20)])
def test_training_and_prediction_see_the_same(tmp_path, shape, kind):
    from cnncourse.networks import Conv, Flatten, Network
    from cnncourse.transfer import prepare_images

    net = Network("small", (3, 32, 32), [Conv(2, 3), Flatten()])
    x = RNG.integers(0, 256, (*shape, 3), np.uint8)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.fromarray(x).save(tmp_path / folder / f"x.{kind}")
    trained = from_folder(tmp_path, size=32, n_test=0).x_train[:1]
    asked = prepare_images(read_picture(tmp_path / "a" / f"x.{kind}")[None], net)
    np.testing.assert_array_equal(asked, trained.astype(np.float32) / 255)
    np.testing.assert_array_equal(read_picture(tmp_path / "a" / f"x.{kind}", size=32), trained[0])
    np.testing.assert_array_equal(next(iter(stream_folder(tmp_path, size=32)))[0][:1], asked)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 2, 3, 4]))
@settings(deadline=None)
def test_files_and_arrays_bytes_and_floats_get_their_size_alike(h, w, height, width, channels):
    from PIL import ImageOps

    x = np.random.default_rng(h * w).integers(0, 256, (channels, h, w), np.uint8)
    small = to_size(x, (height, width))
    for plane, new in zip(x, small, strict=True):  # Pillow's own way to cut to shape
        theirs = ImageOps.fit(Image.fromarray(plane), (width, height), Image.Resampling.BICUBIC)
        assert np.abs(np.asarray(theirs).astype(int) - new).max() <= 1
    floats = to_size(x / np.float32(255), (height, width))
    assert floats.dtype == np.float32 and floats.min() >= 0 and floats.max() <= 1
    soft = np.clip(x, 100, 140)  # nothing swings beyond the ends, where bytes are clipped between two steps
    near = to_size(soft / np.float32(255), (height, width)) * 255 - to_size(soft, (height, width))
    assert np.abs(near).max() <= 1.5
    np.testing.assert_array_equal(to_size(x[None], (height, width))[0], small)
    for how in ("stretch", "pad"):
        assert to_size(x, (height, width), how).shape == (channels, height, width)


def test_made_small_is_averaged():
    "A checkerboard of single pixels is grey from afar, in files and in arrays: nothing is skipped."
    board = np.indices((64, 64)).sum(axis=0) % 2
    for x in ((board * 255).astype(np.uint8)[None], board[None].astype(np.float64)):
        small = to_size(x, 8) / (255 if x.dtype == np.uint8 else 1)
        assert np.abs(small - 0.5).max() < 0.02


def test_bars_and_stretching():
    x = np.full((1, 10, 20), 200, np.uint8)
    padded = to_size(x, 20, "pad")[0]
    assert (padded[:5] == 0).all() and (padded[5:15] == 200).all() and (padded[15:] == 0).all()
    assert (to_size(x, 20, "stretch") == 200).all()
    assert to_size(np.zeros((0, 3, 4, 4), np.uint8), 8).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("size", [0, -3, 2.5, "8", (8,), (8, 8, 8), (8, 0), True, 10**6, (10**5, 10**5)])
def test_a_size_that_is_none(size, tree):
    for call in (
        lambda: to_size(np.zeros((1, 4, 4)), size),
        lambda: read_picture(RGB, size=size),
        lambda: from_folder(tree, size=size),
        lambda: stream_folder(tree, size=size),
    ):
        with pytest.raises(ValueError, match="size should be"):
            call()


def test_more_than_the_memory_is_said_before_reading(tree, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 1000)
    with pytest.raises(DataError, match=r"need .* GB, and this machine has .*stream_folder"):
        from_folder(tree, size=512)


# A mask


def marked(values, **how) -> np.ndarray:
    return read_mask(io.BytesIO(encoded(Image.fromarray(np.asarray(values)), "PNG")), **how)


SPOT = np.zeros((24, 32), bool)
SPOT[5:9, 10:20] = True


def masks() -> dict[str, bytes]:
    "The same spot as programs save it."
    on, found = SPOT, {}
    for name, value in (("0_1", 1), ("0_2", 2), ("0_255", 255), ("0_128", 128)):
        found[f"{name}.png"] = encoded(Image.fromarray(on.astype(np.uint8) * np.uint8(value)), "PNG")
    found["bits.png"] = encoded(Image.fromarray(on), "PNG")
    found["bits.tif"] = encoded(Image.fromarray(on), "TIFF")
    found["labels.png"] = encoded(Image.fromarray((on * (1 + np.arange(32) % 3)).astype(np.uint8)), "PNG")
    found["deep.png"] = encoded(Image.fromarray(on.astype(np.uint16)), "PNG")
    found["deep_full.png"] = encoded(Image.fromarray(on.astype(np.uint16) * 65535), "PNG")
    found["int32.tif"] = tiff(on.astype(np.int32))
    found["float.tif"] = tiff(on.astype(np.float32))
    for name, colour in (("red", (255, 0, 0)), ("dark", (0, 0, 1)), ("white", (255, 255, 255))):
        rgb = (on[..., None] * np.array(colour)).astype(np.uint8)
        found[f"{name}.png"] = encoded(Image.fromarray(rgb), "PNG")
        found[f"{name}.bmp"] = encoded(Image.fromarray(rgb), "BMP")
        opaque = np.concatenate([rgb, np.full((24, 32, 1), 255, np.uint8)], axis=-1)
        found[f"{name}_opaque.png"] = encoded(Image.fromarray(opaque), "PNG")
    found["white.jpg"] = encoded(Image.fromarray(on.astype(np.uint8) * 255), "JPEG", quality=95)
    for name, paint in (("black", 0), ("white", 255)):
        for ground in (0, 255):
            grey = np.where(on, paint, ground).astype(np.uint8)
            layers = np.stack([grey, grey, grey, on.astype(np.uint8) * 255], axis=-1)
            found[f"alpha_{name}_on_{ground}.png"] = encoded(Image.fromarray(layers), "PNG")
            found[f"la_{name}_on_{ground}.png"] = encoded(Image.fromarray(layers).convert("LA"), "PNG")
    for name, colours in (("colours", [0, 0, 0, 200, 0, 0]), ("no_colours", [0, 0, 0, 0, 0, 0])):
        image = Image.fromarray(on.astype(np.uint8)).convert("P")
        image.putdata(on.astype(np.uint8).ravel().tolist())
        image.putpalette(colours)
        found[f"palette_{name}.png"] = encoded(image, "PNG")
    for low in (60, 127):  # kinds of defects in greys of their own
        greys = np.where(on, 255, 0).astype(np.uint8)
        greys[5:9, 10:14] = low
        found[f"greys_{low}.png"] = encoded(Image.fromarray(greys), "PNG")
    soft = np.where(on, 255, 0).astype(np.uint8)
    soft[4, 10:20], soft[9, 10:20] = 90, 100  # soft edges
    found["soft.png"] = encoded(Image.fromarray(soft), "PNG")
    found["soft_half.png"] = encoded(Image.fromarray(soft // 2), "PNG")
    return found


MASKS = masks()


@pytest.mark.parametrize("name", MASKS)
def test_a_mask_as_programs_save_it(name):
    np.testing.assert_array_equal(read_mask(io.BytesIO(MASKS[name])), SPOT)


def test_an_empty_mask_is_named(tmp_path):
    for values in (np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8)):
        Image.fromarray(values).save(tmp_path / "scratch_mask.png")
        with pytest.raises(PictureError, match=r"scratch_mask\.png cannot be read as a mask: it is empty"):
            read_mask(tmp_path / "scratch_mask.png", (4, 4))
        assert read_mask(tmp_path / "scratch_mask.png", (4, 4), empty=True).tolist() == [[False] * 4] * 4


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(0, 10**6))
@settings(deadline=None)
def test_no_marked_pixel_is_lost_when_a_mask_shrinks(h, w, height, width, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((h, w), np.uint8)
    row, column = rng.integers(h), rng.integers(w)
    mask[row, column] = 255
    small = marked(mask, shape=(min(height, h), min(width, w)), how="stretch")
    height, width = small.shape
    rows, columns = np.nonzero(small)
    assert (int(row * height / h), int(column * width / w)) in set(zip(rows.tolist(), columns.tolist(), strict=True))
    for found, place, scale in ((rows, row, h / height), (columns, column, w / width)):  # and nothing else is marked
        assert (found * scale < place + 1 + 1e-5).all() and ((found + 1) * scale > place - 1e-5).all()


def test_a_scratch_of_one_pixel_survives():
    scratch = np.zeros((512, 512), np.uint8)
    scratch[np.arange(100, 400), np.arange(100, 400)] = 255
    assert marked(scratch).sum() == 300
    assert marked(scratch, shape=(128, 128)).sum() == 75
    wide = np.zeros((64, 256), np.uint8)
    wide[:, 128] = 1
    assert marked(wide, shape=(16, 16)).any(axis=0).nonzero()[0].tolist() == [8]  # cut to shape, as the picture is
    wide[:] = 0
    wide[:, 2] = 1
    with pytest.raises(PictureError, match="cut off at 16x16"):
        marked(wide, shape=(16, 16))
    assert marked(wide, shape=(16, 16), how="pad").sum() == 4
    assert marked(np.eye(4, dtype=np.uint8), shape=(8, 8)).sum() == 16  # made larger: nearest


def test_a_mask_is_turned_as_its_picture():
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(SPOT.astype(np.uint8))
    np.testing.assert_array_equal(read_mask(io.BytesIO(encoded(image, "PNG", exif=exif))), np.rot90(SPOT, -1))


# A tree


def grow(root, *names, picture=True):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if picture:
            Image.new("L", (8, 8), 90).save(root / name, "PNG")
        else:
            (root / name).write_bytes(b"")
    return root


def both(root, **how):
    "What both functions say of a tree: the same refusal, or the same classes, labels and unread files."
    answers = []
    for read in (lambda: from_folder(root, size=8, n_test=0, **how), lambda: stream_folder(root, size=8, **how)):
        try:
            found = read()
        except DataError as error:
            answers.append(str(error))
            continue
        labels = found.y_train if isinstance(found, datasets.Data) else found.y
        answers.append((found.classes, tuple(np.bincount(labels).tolist()), found.broken))
    assert answers[0] == answers[1]
    return answers[0]


def says(root, *parts, **how):
    sentence = both(root, **how)
    assert isinstance(sentence, str) and sentence.endswith(".") and "\n" not in sentence
    for part in parts:
        assert part in sentence, sentence


def test_a_level_too_high(tmp_path):
    a = grow(tmp_path / "a", "PetImages/Cat/1.png", "PetImages/Dog/1.png")
    says(a, "a folder too high", f"point at {a / 'PetImages'}, or say classes=('PetImages',)")
    deep = grow(tmp_path / "deep", "x/y/PetImages/Cat/1.png", "x/y/PetImages/Dog/1.png")
    says(deep, f"point at {deep / 'x' / 'y' / 'PetImages'},")
    split = grow(tmp_path / "split", "data/train/cat/1.png", "data/train/dog/1.png", "data/test/cat/1.png")
    says(split, f"point at {split / 'data' / 'train'},")
    grow(a, "docs/readme.txt", picture=False)
    says(a, "a folder too high", f"point at {a / 'PetImages'},")
    says(a / "PetImages" / "Cat", "holds no folders of pictures, but pictures; point at the folder above")


@pytest.mark.parametrize(
    "parts",
    [
        ("train", "test"),
        ("Train", "Valid"),
        ("training", "val", "test"),
        ("test", "validation"),
        ("train", "test1"),
        ("test_set", "training_set"),
        ("학습", "검증"),
    ],
)
def test_parts_of_a_data_set_are_not_its_classes(tmp_path, parts):
    first = next((part for part in sorted(parts) if part.lower()[:5] in ("train", "학습")), min(parts))
    flat = grow(tmp_path / "flat", *(f"{part}/{i}.png" for part in parts for i in range(2)))
    says(flat, "not the classes", f"point at {flat / first},")
    inside = grow(tmp_path / "inside", *(f"{part}/{kind}/1.png" for part in parts for kind in ("cat", "dog")))
    says(inside, "not the classes", f"point at {inside / first},")
    grow(inside, f"{parts[0]}/fox/1.png")  # they need not agree
    says(inside, f"point at {inside / first},")


def test_the_same_folders_in_every_class(tmp_path):
    root = grow(tmp_path / "b", *(f"{part}/{kind}/1.png" for part in ("one", "two") for kind in ("cat", "dog")))
    says(root, "hold the same folders (cat, dog)", f"point at {root / 'one'}", "classes=('one', 'two')")
    assert both(root, classes=("one", "two"))[:2] == (("one", "two"), (2, 2))
    vehicles = grow(tmp_path / "vehicles", "train/1.png", "bus/1.png", "freight train/1.png")  # trains can be classes
    assert both(vehicles)[0] == ("bus", "freight train", "train")
    wrapped = grow(tmp_path / "wrapped", "seg_train/seg_train/sea/1.png", "seg_test/seg_test/sea/1.png")
    grow(wrapped, "seg_train/seg_train/ice/1.png", "seg_pred/1.png")
    says(wrapped, f"point at {wrapped / 'seg_train' / 'seg_train'},")
    yolo = grow(grow(tmp_path / "yolo", "images/train/1.png", "images/val/1.png"), "labels/train/1.txt", picture=False)
    says(yolo, "its one folder 'images' holds folders", f"point at {yolo / 'images' / 'train'},")


def test_one_class(tmp_path):
    says(grow(tmp_path, "cat/1.png", "cat/2.png"), "holds one class only, 'cat'", "classes=('cat',)")
    assert both(tmp_path, classes=["cat"]) == (("cat",), (2,), ())


def test_empty_classes_and_unreadable_kinds(tmp_path):
    root = grow(tmp_path, "cat/1.png", "dog/1.png")
    (root / "fox").mkdir()
    says(root, f"The folder 'fox' in {root} holds no pictures; fill it or remove it.")
    grow(root, "fox/.DS_Store", picture=False)
    says(root, "The folder 'fox'", "fill it or remove it")
    grow(root, *(f"fox/{i}.HEIC" for i in range(16)), picture=False)
    says(root, "The folder 'fox'", "ending .HEIC is not read: convert it to JPEG or PNG", "16 in all")
    says(root, "The folder 'fox'", ".HEIC", classes=("cat", "dog", "fox"))
    only = grow(tmp_path / "only", "a/1.heic", "b/1.avif", picture=False)
    says(only, "holds no folders of pictures that can be read", "ending .heic is not read", "2 in all")
    says(tmp_path / "nowhere", "There is no folder")


def test_a_class_of_damaged_files(tmp_path):
    root = grow(grow(tmp_path, "cat/1.png", "cat/2.png"), "dog/1.png", "dog/2.png", picture=False)
    sentence = "None of the 2 files of class 'dog' can be read as a picture; the first says: the file is empty"
    for read in (lambda: from_folder(root, size=8), lambda: list(stream_folder(root, size=8))):
        with pytest.raises(DataError, match=sentence):
            read()


def test_every_file_that_is_not_read_is_listed(tmp_path):
    root = grow(tmp_path, "cat/1.png", "cat/2.jfif", "dog/deep/er/1.PNG")
    grow(root, "cat/a.heic", "cat/b.avif", "cat/notes.txt", "cat/README", "dog/deep/c.svg", "labels.csv", picture=False)
    grow(root, "cat/.hidden", "cat/Thumbs.db", "dog/.DS_Store", ".git/x.png", "__MACOSX/cat/._1.png", picture=False)
    os.mkfifo(root / "dog" / "pipe.png")
    os.symlink(root / "gone", root / "dog" / "link.png")
    classes, counts, broken = both(root)
    assert classes == ("cat", "dog") and counts == (2, 1)
    expected = [
        "cat/README",
        "cat/a.heic",
        "cat/b.avif",
        "cat/notes.txt",
        "dog/deep/c.svg",
        "dog/link.png",
        "dog/pipe.png",
    ]
    assert [name for name, _ in broken] == [*expected, "labels.csv"] and all(why for _, why in broken)
    assert dict(broken)["cat/a.heic"].startswith("ending .heic is not read")
    listed, unread = pictures.list_pictures(root)
    assert [str(file) for file in listed] == ["cat/1.png", "cat/2.jfif", "dog/deep/er/1.PNG"]
    assert {str(file) for file in unread} == {*expected, "labels.csv"}
    with pytest.warns(UserWarning, match="class dog has too few examples for every part"):
        train, validation, test = stream_folder(root, size=8).split(None, 0, 1)
    assert len(train.broken) == 8 and validation.broken == test.broken == ()


def test_a_folder_that_cannot_be_opened_is_listed(tmp_path, monkeypatch):
    root, scan = grow(tmp_path, "cat/1.png", "cat/locked/2.png", "dog/1.png"), os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert both(root)[1:] == ((1, 1), (("cat/locked", "the folder cannot be opened: Permission denied"),))
    (root / "cat" / "locked").rename(root / "dog" / "locked")
    os.rename(root / "dog" / "locked", root / "locked")
    says(root, "The folder 'locked'", "cannot be opened: Permission denied")


def test_links_are_followed_once(tmp_path):
    root = grow(tmp_path / "root", "cat/1.png", "dog/1.png")
    grow(tmp_path / "elsewhere", "2.png", "more/3.png")
    os.symlink(tmp_path / "elsewhere", root / "cat" / "more")
    os.symlink(tmp_path / "elsewhere" / "more", root / "cat" / "again")
    os.symlink(root / "cat", root / "cat" / "itself")
    os.symlink(root, root / "dog" / "up")
    os.symlink(tmp_path, root / "dog" / "above")
    os.symlink("loop", root / "dog" / "loop")
    classes, counts, broken = both(root)
    assert (classes, counts) == (("cat", "dog"), (3, 1))
    assert [name for name, _ in broken] == ["cat/itself", "cat/more/more", "dog/above", "dog/loop", "dog/up"]
    os.symlink(tmp_path / "elsewhere", root / "fox")  # a class may be a link
    assert both(root)[1] == (3, 1, 2)


def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    cat, dog = "고양이", "개"
    forms = [unicodedata.normalize(form, cat) for form in ("NFC", "NFD")]
    root = grow(tmp_path / "x", f"{forms[0]}/1.png", f"{forms[1]}/2.png", f"{dog}/1.png")
    assert both(root)[:2] == ((dog, cat), (1, 2))
    orders = []
    for form in ("NFC", "NFD"):  # the order and the labels do not depend on the machine that wrote the names
        names = [unicodedata.normalize(form, f"{kind}/{i}.png") for kind in ("나", "가", "각", "z") for i in "힣가나"]
        tree = picture_tree(grow(tmp_path / form, *names))
        orders.append((tree.classes, tree.y.tolist(), [pictures.shown(file) for file in tree.files]))
    assert orders[0] == orders[1] and orders[0][0] == ("z", "가", "각", "나")


def test_names_that_are_no_text(tmp_path):
    root = grow(tmp_path, "cat/1.png", "dog/1.png")
    odd = os.fsdecode(b"caf\xe9")
    grow(root, f"{odd}/1.png", f"cat/{odd}.png")
    grow(root, f"dog/{odd}.heic", f"dog/{odd}.png", picture=False)
    data = from_folder(root, size=8, n_test=0)
    assert data.classes == ("caf\\xe9", "cat", "dog")
    assert [name for name, _ in data.broken] == ["dog/caf\\xe9.heic", "dog/caf\\xe9.png"]
    stream = stream_folder(root, size=8)
    assert sum(len(y) for _, y in stream) == 4 and stream.broken == data.broken
    f"{data!r}{stream!r}{data.broken}".encode()  # all of it can be printed
    assert pictures.shown("two\nlines\x1b[31m") == "two\\x0alines\\x1b[31m"
    with pytest.raises(PictureError) as caught:
        read_picture(root / "dog" / f"{odd}.png")
    str(caught.value).encode()


def test_classes_as_told(tmp_path):
    train = grow(tmp_path / "tr", "a/1.png", "b/1.png", "c/1.png")
    valid = grow(tmp_path / "va", "a/1.png", "c/1.png")
    assert both(train, classes=("c", "a", "b"))[0] == ("c", "a", "b")
    data = from_folder(train, size=8, n_test=0, classes=["c", "a", "b"])
    assert sorted(data.y_train.tolist()) == [0, 1, 2]
    with pytest.warns(UserWarning, match="holds no pictures of 'b'; the labels stay"):
        tree = picture_tree(valid, ("a", "b", "c"))
    assert tree.y.tolist() == [0, 2] and tree.classes == ("a", "b", "c")
    with pytest.warns(UserWarning, match="holds no pictures of 'b'"):
        assert both(valid, classes=("a", "b", "c"))[:2] == (("a", "b", "c"), (1, 0, 1))
    says(train, "The folder 'c'", "is not among classes=('a', 'b')", classes=("a", "b"))
    for wrong in ("abc", (), ("a", "a"), ("a", 1), ("각", unicodedata.normalize("NFD", "각"))):
        with pytest.raises(ValueError, match="classes should be different names of folders"):
            stream_folder(train, size=8, classes=wrong)


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 4), min_size=2), st.randoms())
@settings(max_examples=30, deadline=None)
def test_trees_of_any_shape(tmp_path_factory, counts, random):
    root = tmp_path_factory.mktemp("tree")
    for name, count in counts.items():
        for i in range(count):
            grow(root, "/".join([name, *random.sample("xyz", random.randint(0, 1)), f"{i}{random.random()}.png"]))
        grow(root, f"{name}/0.png")
    classes, found, broken = both(root)
    assert classes == tuple(sorted(counts)) and broken == ()
    assert found == tuple(counts[name] + 1 for name in sorted(counts))


# Ranges


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_is_cut_off_and_a_mistake_is_named(dtype):
    slack = max(1e-6, 8 * float(np.finfo(dtype).eps))
    x = np.array([-slack / 2, 0.5, 1 + slack / 2], dtype)
    np.testing.assert_array_equal(check_unit(x), np.array([0, 0.5, 1], dtype))
    assert check_unit(x).dtype == dtype
    for bad in (-3 * slack, 1 + 3 * slack):
        with pytest.raises(ValueError, match="expected uint8"):
            check_unit(np.array([bad], dtype))


def doors_of_values(x):
    "Every function that takes pictures with values from 0 to 1."
    from cnncourse.networks import Conv, Flatten, Network
    from cnncourse.transfer import prepare_images

    net = Network("small", (3, *x.shape[2:]), [Conv(2, 3), Flatten()])
    return [
        lambda: scaling.to_uint8(x),
        lambda: scaling.check_pixels(x),
        lambda: Augmenter([Blur(1)])(x, 0),
        lambda: prepare_images(x, net),
        lambda: to_size(x, 3),
    ]


def test_there_and_back_is_taken_by_all():
    x = RNG.integers(0, 256, (8, 3, 8, 8), np.uint8)
    x[0, :, 0, 0], x[0, :, 0, 1] = 0, 255
    for scaler in (scaling.Standardizer("pixel"), scaling.Standardizer(), scaling.MinMaxScaler(feature_range=(-1, 1))):
        for dtype in (np.float32, np.float64):
            unit = scaling.to_unit(x, dtype)
            back = scaler.fit(unit).inverse_transform(scaler.transform(unit))
            np.testing.assert_array_equal(scaling.to_uint8(back), x)
            for door in doors_of_values(back):
                door()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([-1.7, 2.1], r"received -1\.7.*standardised already\? Augment first, then scale"),
        ([0, 200], r"received 0\.\.200; not yet divided by 255"),
        ([0, 1.01], r"received 0\.\.1\.01"),
        ([0, np.nan], "received 192 that are NaN or infinite"),
        ([0, np.inf], "received 192 that are NaN or infinite"),
    ],
)
def test_a_mistake_is_named_alike_by_all(values, sentence):
    x = np.tile(np.array(values, np.float64), (2, 3, 8, 4))
    for door in doors_of_values(x):
        with pytest.raises(ValueError, match=sentence):
            door()


# Boxes


def doors_of_boxes(boxes, h, w):
    return [
        lambda: check_boxes(boxes, h, w),
        lambda: Augmenter([]).apply(np.zeros((1, h, w), np.uint8), 0, boxes=boxes).boxes,
        lambda: boxes_and_masks(np.zeros((h, w)), boxes),
    ]


@pytest.mark.parametrize(
    ("boxes", "sentence"),
    [
        ([[0.1, 0.2, 0.5, 0.6]], "looks like shares of the picture: multiply by width and height"),
        ([[0, 0, 1, 1]], "looks like shares of the picture"),
        ([[0, -0.0003, 1.0006, 1]], "looks like shares of the picture"),
        ([[0.1, 0.2, 0.5, 0.6], [0, 0, 1, 0.3]], "looks like shares"),
        ([[1, 2, np.nan, 4]], r"box 0 \(1, 2, nan, 4\) holds NaN"),
        ([[1, 2, np.inf, 4]], "holds NaN or an infinite number"),
        ([[1, 2, 9, 9], [9, 2, 1, 9]], r"box 1 \(9, 2, 1, 9\) .*two corners swapped"),
        ([[10, 20, 5, 6]], "x, y, width, height"),
        ([[0, 0, 70, 9]], r"must lie in the picture, 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 48"),
        ([[64.1, 0, 64.3, 9]], "must lie in the picture"),
        ([[1, 2, 3]], r"got shape \(1, 3\)"),
        ([[[1, 2, 3, 4]]], r"got shape \(1, 1, 4\)"),
    ],
)
def test_a_wrong_box_is_named_alike_by_all(boxes, sentence):
    for door in doors_of_boxes(boxes, 48, 64):
        with pytest.raises(ValueError, match=sentence):
            door()


@given(st.data())
@settings(deadline=None)
def test_rounding_of_boxes_is_clipped(data):
    h, w = data.draw(st.integers(2, 500)), data.draw(st.integers(2, 500))
    x1, y1 = data.draw(st.integers(0, w - 1)), data.draw(st.integers(0, h - 1))
    box = np.array([x1, y1, data.draw(st.integers(max(x1 + 1, 2), w)), data.draw(st.integers(y1 + 1, h))], float)
    noise = np.array(data.draw(st.tuples(*[st.floats(-1e-3, 1e-3)] * 4)))
    found = check_boxes([box + noise], h, w)[0]
    assert (found >= 0).all() and (found <= [w, h, w, h]).all() and np.abs(found - box).max() <= 1.001e-3


def test_what_is_left_of_a_box_in_a_corner_is_no_share():
    x, cut = np.zeros((2, 1, 8, 8), np.uint8), Augmenter([Shift(x=-0.25, y=-0.25)])
    found = cut.apply(x, 0, boxes=[[[0, 0, 3, 3]], [[4, 4, 8, 8]]])
    assert found.boxes[0].tolist() == [[0, 0, 1, 1]]
    assert len(mix(x, np.eye(2), Mixup(), 0, boxes=found.boxes).boxes) == 2
    with pytest.raises(ValueError, match="shares of the picture"):
        mix(x, np.eye(2), Mixup(), 0, boxes=[[[0, 0, 0.5, 1]], [[0.2, 0, 1, 1]]])


def test_the_boxes_of_the_report():
    for boxes in ([[10, 20, 64.0006, 60]], [[-1e-9, 0, 8, 8]]):
        assert all(door() is not None for door in doors_of_boxes(boxes, 64, 64))
    assert check_boxes([[0, 0, 1, 1]], 1, 1).tolist() == [[0, 0, 1, 1]]  # a picture of one pixel
    assert check_boxes([1, 2, 3, 4], 9, 9).shape == (1, 4) and check_boxes([], 9, 9).shape == (0, 4)


# Columns that differ by rounding


@pytest.mark.parametrize("rows", [2, 10, 1000])
@pytest.mark.parametrize("value", [0.3, 1e-9, -7e5])
def test_columns_that_differ_by_rounding_are_constant(rows, value):
    from sklearn.preprocessing import StandardScaler

    column = np.full((rows, 1), value)
    column[0] = np.nextafter(value, np.inf)
    for scaler in (scaling.Standardizer(), scaling.MinMaxScaler()):
        assert np.abs(scaler.fit_transform(column)).max() < 1e-6
        np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(column)), column, rtol=1e-12)
    np.testing.assert_allclose(
        scaling.Standardizer().fit_transform(column), StandardScaler().fit_transform(column), atol=1e-9
    )


def test_small_but_real_spreads_are_kept():
    x = 1 + 1e-9 * RNG.standard_normal((200, 2))
    np.testing.assert_allclose(scaling.Standardizer().fit_transform(x).std(axis=0), 1, rtol=1e-6)
    assert np.ptp(scaling.MinMaxScaler().fit_transform(x), axis=0) == pytest.approx(1)


@pytest.mark.parametrize("how", pictures.HOWS)
def test_a_box_stays_around_what_it_was_drawn_around(how):
    rng = np.random.default_rng(0)
    for _ in range(60):
        shape, size = tuple(map(int, rng.integers(24, 90, 2))), tuple(map(int, rng.integers(24, 90, 2)))
        low = rng.integers(0, np.array(shape[::-1]) - 12)
        box = np.hstack([low, rng.integers(low + 8, np.array(shape[::-1]) + 1)])
        picture = np.zeros((1, *shape), np.uint8)
        picture[0, box[1] : box[3], box[0] : box[2]] = 255
        (moved,), (left,) = boxes_to_size(box, shape, size, how)
        rows, columns = np.nonzero(to_size(picture, size, how)[0] > 127)
        if left > 0.5:
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(moved - seen).max() <= 1
        if left == 0:
            assert not len(rows)
        if how != "crop":
            assert np.isclose(left, 1)


def test_a_box_of_another_picture_cannot_be_moved():
    for box, said in (([0, 0, 9, 5], "must lie in the picture"), ([4, 0, 2, 5], "corners swapped")):
        with pytest.raises(ValueError, match=said):
            boxes_to_size([box], (8, 8), 16)
