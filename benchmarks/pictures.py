"""Make a set of pictures of many sizes: emoji on noisy grounds, as photos of things would be, without a download.

    python benchmarks/pictures.py pictures --font /usr/share/fonts/truetype/noto/NotoColorEmoji.ttf   # 3,000 pictures

The font is Debian's package fonts-noto-color-emoji. Ten classes, such as animals and food, of about 30 emoji each; a
picture shows one of them at any angle, 40 to 100 % of the picture wide, among pieces of others. Pictures are JPEG and
PNG, upright or lying (by EXIF), from 100 to 400 pixels a side. train, val and test have the same emoji in other
pictures.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

if __name__ == "__main__":  # benchmarks/statistics.py must not hide Python's module
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from PIL import Image, ImageFilter, ImageFont
from PIL.ImageDraw import Draw

CLASSES = {
    "animals": (0x1F400, 0x1F43E),
    "buildings": (0x1F3E0, 0x1F3F0),
    "clocks": (0x1F550, 0x1F567),
    "clothes": (0x1F451, 0x1F462),
    "faces": (0x1F600, 0x1F644),
    "food": (0x1F345, 0x1F37F),
    "hands": (0x1F446, 0x1F450),
    "office": (0x1F4B0, 0x1F4DC),
    "sports": (0x1F3B0, 0x1F3C8),
    "vehicles": (0x1F681, 0x1F6A4),
}
SIZE = 109  # the only one that the font has
PARTS = {"train": 0.7, "val": 0.1, "test": 0.2}


def glyph(font: ImageFont.FreeTypeFont, code: int) -> Image.Image:
    image = Image.new("RGBA", (136, 128))
    Draw(image).text((0, 0), chr(code), font=font, embedded_color=True)
    return image


def picture(shown: Image.Image, others: list[Image.Image], draws: np.random.Generator) -> Image.Image:
    """One picture: a smooth ground with noise, pieces of other emoji, and the one that counts on top."""
    width, height = (int(n) for n in draws.integers(100, 401, 2))
    coarse = Image.fromarray(draws.integers(0, 256, (3, 3, 3), dtype=np.uint8)).resize((width, height), 3)
    noise = draws.normal(0, draws.uniform(2, 25), (height, width, 3))
    ground = Image.fromarray((np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8))
    for other in others:
        _paste(ground, other, draws, draws.uniform(0.1, 0.3))
    _paste(ground, shown, draws, draws.uniform(0.4, 1.0))
    return ground.filter(ImageFilter.GaussianBlur(draws.uniform(0, 1)))


def _paste(ground: Image.Image, emoji: Image.Image, draws: np.random.Generator, share: float) -> None:
    side = max(8, int(share * min(ground.size)))
    turned = emoji.rotate(draws.uniform(-40, 40), Image.Resampling.BILINEAR).resize((side, side))
    left, top = (int(draws.integers(0, max(1, n - side + 1))) for n in ground.size)
    ground.paste(turned, (left, top), turned)


def write(folder: Path, font: str, count: int) -> None:
    """`count` pictures in train, val and test, a folder for each class."""
    draws = np.random.default_rng(0)
    drawn = ImageFont.truetype(font, SIZE)
    glyphs = {name: [glyph(drawn, code) for code in range(*ends)] for name, ends in CLASSES.items()}
    everything = [one for of_class in glyphs.values() for one in of_class]
    for number in range(count):
        name = list(CLASSES)[number % len(CLASSES)]
        part = list(PARTS)[int(np.searchsorted(np.cumsum(list(PARTS.values())), draws.random(), side="right"))]
        others = [everything[i] for i in draws.integers(0, len(everything), 3)]
        image = picture(glyphs[name][int(draws.integers(len(glyphs[name])))], others, draws)
        place = folder / part / name
        place.mkdir(parents=True, exist_ok=True)
        kind, exif = ("png", None) if number % 5 == 0 else ("jpg", Image.Exif())
        if exif is not None and number % 3 == 0:  # stored lying, as a camera does
            image, exif[0x0112] = image.transpose(Image.Transpose.ROTATE_90), 6
        if exif is None:
            image.save(place / f"{number}.{kind}")
        else:
            image.save(place / f"{number}.{kind}", exif=exif, quality=85)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--font", required=True, help="NotoColorEmoji.ttf")
    parser.add_argument("--count", type=int, default=3000)
    given = parser.parse_args()
    write(given.folder, given.font, given.count)


if __name__ == "__main__":
    main()
