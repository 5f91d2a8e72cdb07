"""The settings of files, a section of `settings.Settings`."""

from typing import Annotated

from msgspec import Meta, Struct

_Bytes = Annotated[int, Meta(ge=1, le=2**50)]
_Count = Annotated[int, Meta(ge=1, le=10_000_000)]
_Seconds = Annotated[float, Meta(gt=0, le=10 * 366 * 86_400)]


class FileSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Files that robots upload.

    Attributes:
        file_bytes_max: largest file that is taken.
        robot_bytes_max: bytes that all files of one robot may have, with those it has only announced.
        robot_files_max: most files of one robot.
        robot_uploads_max: of these, most that are unfinished.
        upload_ttl_s: seconds without a byte after which an unfinished upload is let go.
        ttl_s: seconds after which a finished file is let go; 0 keeps it until its robot deletes it, or the
            last event that refers to it is let go.
        free_bytes_min: bytes of the disk that files leave free, for the store.
        sweep_s: seconds between two looks for what is over.
        thumbnails: whether pictures get thumbnails; needs Pillow.
        thumbnail_px: longest side of a thumbnail.
        picture_bytes_max: largest picture that gets a thumbnail.
        picture_pixels_max: most pixels of a picture that gets a thumbnail.
    """

    file_bytes_max: _Bytes = 4 * 1024**3
    robot_bytes_max: _Bytes = 32 * 1024**3
    robot_files_max: _Count = 10_000
    robot_uploads_max: _Count = 100
    upload_ttl_s: _Seconds = 86_400.0
    ttl_s: Annotated[float, Meta(ge=0)] = 0.0
    free_bytes_min: Annotated[int, Meta(ge=0, le=2**50)] = 256 * 1024**2
    sweep_s: _Seconds = 60.0
    thumbnails: bool = True
    thumbnail_px: Annotated[int, Meta(ge=16, le=2_048)] = 320
    picture_bytes_max: _Bytes = 32 * 1024**2
    picture_pixels_max: _Count = 10_000_000
