"""Where compiled loops are kept between processes.

A file that cannot be read, or is damaged, counts as missing. A loop is found by a digest of all code that it reaches:
Numba itself knows a function of another module by its name alone, and would go on with an old one after an edit.
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
)  # files whose code every loop may reach in ways that `digest` does not see


class LoopCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, except that what cannot be loaded is compiled again.

    Raises:
        RuntimeError: Numba found no writable place for a cache.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        files = {Path(inspect.getfile(function)), *(Path(__file__).parent / name for name in OF_ALL)}
        stamp = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()
        self._cache_file = _Files(self._impl.locator.get_cache_path(), self._impl.filename_base, stamp)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), digest(self._py_func)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        with contextlib.suppress(Exception):  # unpickling may raise anything
            return super().load_overload(sig, target_context)
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        with contextlib.suppress(Exception):  # the loop is compiled, and the next process compiles it again
            super().save_overload(sig, data)


class _Files(IndexDataCacheFile):  # type: ignore[misc]
    """One file for each kind of arguments of a function, led by its checksum.

    Numba's own files share an index. Two processes that compile at once may both take the same number in it, so that a
    third finds the wrong loop; and what is damaged inside a loop would be run.
    """

    def load(self, key: Any) -> Any:
        content = self._path(key).read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None
        made_by, data = pickle.loads(content[32:])
        return data if made_by == (self._version, self._source_stamp) else None

    def save(self, key: Any, data: Any) -> None:
        content = self._dump(((self._version, self._source_stamp), data))
        with self._open_for_write(self._path(key)) as file:
            file.write(hashlib.sha256(content).digest() + content)

    def _path(self, key: Any) -> Path:
        kind = hashlib.sha256(repr(key).encode()).hexdigest()[:16]
        return Path(self._cache_path) / f"{self._index_name.removesuffix('.nbi')}.{kind}.nbc"
