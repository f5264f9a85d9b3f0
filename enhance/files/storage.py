"""Files in object storage under the names of fsspec ("s3://bucket/name"), with the few methods of a Path that we use.

Reading goes in pieces of a few megabytes. Writing goes to a file of this machine first, since most sound formats need
their header again at the end, then up in parts; the name appears when all is there.
"""

import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from quietmic.enhance.errors import QuietmicError

_BLOCK_BYTES = 5 << 20
# These put a file under its name when it is whole; the others get another name first.
_ATOMIC = ("s3", "s3a", "gs", "gcs", "abfs", "az", "memory")
_SILENT = ("http://", "https://")  # a server that does not answer is taken there for a file that is missing


class Url(str):
    """A file or folder in storage: the whole name, without a slash at its end."""

    def __truediv__(self, name: object) -> "Url":
        return Url(f"{self}/{str(name).replace(chr(92), '/')}")

    @property
    def name(self) -> str:
        """Last part of the name, as of a path."""
        return self.rsplit("/", 1)[-1]

    @property
    def suffix(self) -> str:
        """Extension with its point, as of a path."""
        return posixpath.splitext(self.name)[1]

    def absolute(self) -> "Url":
        """This name, as one in storage is always whole."""
        return self

    def resolve(self) -> "Url":
        """This name, as one in storage is always whole and no link."""
        return self

    def exists(self) -> bool:
        """Whether there is a file or folder of this name."""
        with self._told():
            return bool(self._system.exists(self._path))

    def is_file(self) -> bool:
        """Whether there is a file of this name."""
        with self._told():
            found = bool(self._system.isfile(self._path))
            if not found and self.startswith(_SILENT):
                with suppress(FileNotFoundError):
                    self._system.cat_file(self._path, 0, 1)
            return found

    def is_dir(self) -> bool:
        """Whether there are files below this name."""
        with self._told():
            return bool(self._system.isdir(self._path))

    def stamp(self) -> tuple[int, str]:
        """Bytes, and what changes with the contents: a tag or a time."""
        with self._told():
            info = self._system.info(self._path)
        for key in ("ETag", "etag", "LastModified", "mtime", "created"):
            if key in info:
                return int(info["size"]), str(info[key])
        return int(info["size"]), ""

    def open(self) -> BinaryIO:
        """The file, open for reading; it comes in pieces as they are read."""
        with self._told():
            return self._system.open(self._path, "rb", block_size=_BLOCK_BYTES, cache_type="readahead")

    def files_below(self) -> list["Url"]:
        """Files to any depth, sorted; names that match where the text is a pattern."""
        pattern = any(sign in self for sign in "*?[")
        with self._told():
            found = self._system.glob(self._path) if pattern else self._system.find(self._path)
        scheme = self.split("://")[0]
        return [Url(f"{scheme}://{str(path).lstrip('/')}") for path in sorted(found)]

    def relative_to(self, folder: "Url") -> str:
        """The name below a folder."""
        return self.removeprefix(f"{folder}/")

    @contextmanager
    def written_from(self) -> Iterator[Path]:
        """A local file to fill; it goes up when the context ends well, and is removed in any case."""
        with tempfile.TemporaryDirectory(prefix="quietmic-") as folder:
            part = Path(folder) / self.name
            yield part
            with self._told():
                self._put(part)

    def _put(self, part: Path) -> None:
        if self.startswith(tuple(f"{scheme}://" for scheme in _ATOMIC)):
            self._system.put_file(str(part), self._path)
            return
        self._system.makedirs(posixpath.dirname(self._path), exist_ok=True)
        hidden = posixpath.join(posixpath.dirname(self._path), f".{self.name}.part")
        self._system.put_file(str(part), hidden)
        self._system.mv(hidden, self._path)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Makes one sentence of what goes wrong on the way; the libraries for storage have errors of many kinds."""
        try:
            yield
        except QuietmicError:
            raise
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise QuietmicError(
                f"{self}: the storage gives an error: {reason}; check its address (for s3 AWS_ENDPOINT_URL), the "
                "network and the credentials"
            ) from error

    @property
    def _system(self) -> Any:
        try:
            from fsspec.core import url_to_fs

            return url_to_fs(str(self))[0]
        except ImportError as error:
            needed = "pip install 'quietmic[scale]'" if error.name == "fsspec" else str(error)
            raise QuietmicError(f"{self} needs more packages: {needed}", exit_code=2) from error
        except ValueError as error:
            raise QuietmicError(f"{self}: {error}", exit_code=2) from error

    @property
    def _path(self) -> str:
        return str(self._system._strip_protocol(str(self)))


Location = Path | Url


def stamp(location: Location) -> tuple[int, str]:
    """Bytes of a file, and what changes with its contents."""
    if isinstance(location, Url):
        return location.stamp()
    status = location.stat()
    return status.st_size, str(status.st_mtime_ns)


def find_location(text: str) -> Location:
    """A path, or a name in storage where the text begins with a scheme other than file://.

    Raises:
        QuietmicError: no name at all, as of a variable of a shell that is not set: it would stand for the folder here.
    """
    if not text:
        raise QuietmicError("the name of a file or folder is empty", exit_code=2)
    if text.startswith("file://"):
        return Path(text.removeprefix("file://"))
    return Url(text.rstrip("/")) if "://" in text else Path(text)
