"""A disk of our own, whose power can be cut: ext4 in a file, mounted through a loop device.

EXT4_IOC_SHUTDOWN without a log flush (Linux: fs/ext4/ioctl.c) ends all writes at once: what was not
forced to the disk by then is gone at the next mount, as after a power cut with the disk's own cache
intact.
"""

import contextlib
import errno
import fcntl
import os
import struct
import subprocess
import time
from pathlib import Path

MOUNT_RETRY_S = 10.0
_EXT4_IOC_SHUTDOWN = 0x8004587D
_NOLOGFLUSH = struct.pack("I", 2)


class Disk:
    """An ext4 filesystem in ``folder``.

    Attributes:
        mount_point: where it is mounted.
        cuts: how many power cuts it has seen.
    """

    def __init__(self, folder: Path, *, size_bytes: int) -> None:
        self.mount_point = folder / "disk"
        self.cuts = 0
        self._image = folder / "disk.img"
        self._size_bytes = size_bytes

    def make(self) -> None:
        """Make the filesystem and mount it."""
        with self._image.open("wb") as image:
            image.truncate(self._size_bytes)
        _run("mkfs.ext4", "-qF", "-m0", str(self._image))
        self.mount_point.mkdir(exist_ok=True)
        self._mount()

    def shut_down(self) -> None:
        """Cut the power: from here on nothing reaches the disk."""
        root = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(root, _EXT4_IOC_SHUTDOWN, _NOLOGFLUSH)
        finally:
            os.close(root)
        self.cuts += 1

    def break_down(self) -> None:
        """Let the filesystem find an error in itself, whereupon it takes no more writes until `power_up`."""
        device = self.mount_point.stat().st_dev
        name = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve().name
        Path(f"/sys/fs/ext4/{name}/trigger_fs_error").write_text("chaos\n")

    def power_up(self) -> None:
        """Mount what the disk holds; every process that had it open must be gone."""
        self._unmount()
        self._mount()

    def fill(self) -> None:
        """Take all free space away."""
        descriptor = os.open(self._ballast, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            step = self._free_bytes()
            while step >= 4096:
                try:
                    end = os.fstat(descriptor).st_size
                    os.posix_fallocate(descriptor, end, step)
                except OSError as exc:
                    if exc.errno != errno.ENOSPC:
                        raise
                    step //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it and remove its image. Idempotent."""
        with contextlib.suppress(subprocess.CalledProcessError, OSError):
            if self.mount_point.is_mount():
                self._unmount()
        self._image.unlink(missing_ok=True)

    @property
    def _ballast(self) -> Path:
        return self.mount_point / "ballast"

    def _free_bytes(self) -> int:
        state = os.statvfs(self.mount_point)
        return state.f_bavail * state.f_bsize

    def _mount(self) -> None:
        _run("mount", "-o", "loop,errors=remount-ro", str(self._image), str(self.mount_point))

    def _unmount(self) -> None:
        give_up_s = time.monotonic() + MOUNT_RETRY_S
        while True:
            try:
                _run("umount", str(self.mount_point))
            except subprocess.CalledProcessError:
                if time.monotonic() > give_up_s:
                    raise
                time.sleep(0.02)  # a process that was killed is not wholly gone yet
            else:
                return


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)
