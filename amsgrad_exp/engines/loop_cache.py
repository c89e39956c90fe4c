"""Caches compiled loops on disk.

A file that is unreadable or damaged counts as missing. The key of a loop is a digest of all code that it reaches. Numba
alone identifies a function of another module only by its name, and would keep using the old code after an edit.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

from amsgrad_exp.code import digest

OF_ALL = (
    "intrinsics.py",
    "loops.py",
    "scalars.py",
    "short_loops.py",
)  # files whose code loops reach in ways that `digest` does not follow


class LoopCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, except that a file that cannot be loaded is compiled again.

    Raises:
        RuntimeError: Numba found no writable place for a cache.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        files = {Path(inspect.getfile(function)), *(Path(__file__).parent / name for name in OF_ALL)}
        stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()
        self._cache_file = _Files(self._impl.locator.get_cache_path(), self._impl.filename_base, stamp)

    def has(self, sig: Any, codegen: Any) -> bool:
        """Whether there is a file for these types of arguments."""
        return self._cache_file.has(self._index_key(sig, codegen))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), digest(self._py_func)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with contextlib.suppress(Exception):  # unpickling may raise anything
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # the next process then compiles it again
            super().save_overload(sig, data)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """One file, which starts with its checksum, for each combination of argument types of a function.

    Numba's own files share an index. If two processes compile at once, both may take the same number in it, so that a
    third process loads the wrong loop. And Numba would run a loop from a damaged file.
    """

    def load(self, key: Any) -> Any:
        content = self._path(key).read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        made_by, data = pickle.loads(content[32:])
        return data if made_by == (self._version, self._source_stamp) else None

    def has(self, key: Any) -> bool:
        return self._path(key).exists()

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(((self._version, self._source_stamp), data))
        with self._open_for_write(self._path(key)) as file:
            file.write(hashlib.sha256(content).digest() + content)

    def _path(self, key: Any) -> Path:
        kind = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return Path(self._cache_path) / f"{self._index_name.removesuffix('.nbi')}.{kind}.nbc"
