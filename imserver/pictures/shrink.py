"""Makes one picture small: reads it from standard input and writes the small one to standard output.

Run by `pillow` as a program. Whatever the picture does to it, it takes no more than its limits and ends: a
bomb, a loop, a crash in a decoder end this process, with a status that is not 0, and nothing else.
"""

import io
import resource
import sys
from typing import Final

from PIL import Image, ImageOps

_FORMATS: Final = ("JPEG", "PNG", "GIF", "WEBP", "BMP")
_MEMORY_BYTES_MAX: Final = 1024 * 1024 * 1024
_CPU_S_MAX: Final = 10


def main() -> int:
    """Make the picture small, as the arguments say: longest side, most bytes, most pixels."""
    px, bytes_max, pixels_max = map(int, sys.argv[1:4])
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES_MAX, _MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S_MAX, _CPU_S_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = sys.stdin.buffer.read(bytes_max + 1)
    if len(given) > bytes_max:
        return 1
    Image.MAX_IMAGE_PIXELS = pixels_max
    with Image.open(io.BytesIO(given), formats=_FORMATS) as picture:
        if picture.width * picture.height > pixels_max:
            return 1
        picture.draft("RGB", (px, px))
        small = ImageOps.exif_transpose(picture)
        small.thumbnail((px, px))
        has_alpha = "A" in small.getbands() or "transparency" in small.info
        out = io.BytesIO()
        if has_alpha:
            small.convert("RGBA").save(out, "PNG", optimize=True)
        else:
            small.convert("RGB").save(out, "JPEG", quality=80)
    sys.stdout.buffer.write(out.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(main())
