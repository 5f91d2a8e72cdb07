"""The bytes of files on the disk (`content`, `files`), beside the embedded store."""
