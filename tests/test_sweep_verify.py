"""Tests that verify checks every checksum of a sweep and computes cells again."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from amsgrad_exp.errors import Damaged, NotVerified, RunError
from amsgrad_exp.sweeps.store import BLOBS, POINTS, as_kept, checksum, points_checksum, results_of
from amsgrad_exp.sweeps.sweeping import Swept, Verification
from tests.conftest import CommandLine
from tests.sweeping import change, curves, failing, resumed, rows, small, swept, verified
from tests.watching import Watched


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return swept(small(steps=300_000), tmp_path_factory.mktemp("sound"))


@pytest.fixture
def copied(sound: Swept, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound.directory, tmp_path / sound.directory.name))


def test_a_sound_sweep_verifies(sound: Swept) -> None:
    watch = Watched()
    assert verified(sound.directory, watch) == Verification(cells=60, rows=60, recomputed=32, checksums=True)
    assert (watch.reports[0], watch.reports[-1]) == ((0, 92), (92, 92))
    assert verified(sound.directory, every_cell=True).recomputed == 60


TEXTS = ("iterate", "regret_trend", "evidence")


@pytest.mark.parametrize("column", [name for name in results_of(small()) if name not in TEXTS])
def test_the_smallest_change_of_a_number_is_found(copied: Path, column: str) -> None:
    row = next(row for row in rows(copied)[7:] if row[column] is not None)
    changed = row[column] + 1 if isinstance(row[column], int) else np.nextafter(row[column], np.inf)
    change(copied, f'UPDATE cells SET "{column}" = {float(changed)!r} WHERE cell = {row["cell"]}')
    found = rf"{column} is .*, and .* in its row" if column != "regret_slope" else "the checksum of the row is wrong"
    with pytest.raises(NotVerified, match=rf"^cell {row['cell']} \(.*lr = .*\): {found}$"):
        verified(copied)


@pytest.fixture(scope="module")
def whole_gauntlet(tmp_path_factory: pytest.TempPathFactory) -> Swept:
    return swept(failing(), tmp_path_factory.mktemp("gauntlet"))


@pytest.fixture
def gauntlet(whole_gauntlet: Swept, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole_gauntlet.directory, tmp_path / whole_gauntlet.directory.name))


def test_points_are_stored_for_each_cell_that_did_not_fail(gauntlet: Path) -> None:
    assert verified(gauntlet, every_cell=True).recomputed == 4
    assert [row["failure"] is None for row in rows(gauntlet)] == [True, True, True, False]
    points = curves(gauntlet)
    assert points.keys() == {0, 1, 2}
    for cell, columns in points.items():
        assert 40 <= len(columns["step"]) <= POINTS
        assert columns["step"][-1] == 19_999
        assert columns["regret"][-1] == rows(gauntlet)[cell]["regret"]


OF_POINTS = "[01] .adam.*: the checksum of its curve's points is wrong$"
CHANGES = [
    ("copied", "UPDATE cells SET iterate = 'away' WHERE cell = 9", "9 .*: iterate is .*, and away in its row"),
    ("copied", "UPDATE cells SET mean_x = NULL WHERE cell = 9", "9 .*: mean_x is .*, and None in its row"),
    ("copied", "UPDATE cells SET lr = 0.5 WHERE cell = 9", r"9 .*: lr is .*, and 0\.5 in its row"),
    ("copied", "UPDATE cells SET failure = 'none' WHERE cell = 9", "9 .*: failure is None, and none in its row"),
    ("copied", "DELETE FROM cells WHERE cell = 9", "9 has no row, but had one when the sweep was complete"),
    ("copied", "UPDATE cells SET sha256 = NULL WHERE cell = 9", "9 .*: the checksum of the row is wrong"),
    ("gauntlet", "UPDATE points SET regret = x WHERE cell = 1", OF_POINTS),
    ("gauntlet", "UPDATE points SET x = substr(x, 2) WHERE cell = 1", OF_POINTS),
    ("gauntlet", "UPDATE points SET step = 'none' WHERE cell = 1", OF_POINTS),
    ("gauntlet", "UPDATE points SET step = NULL WHERE cell = 1", OF_POINTS),
    ("gauntlet", "UPDATE points SET sha256 = NULL WHERE cell = 1", OF_POINTS),
    ("gauntlet", "UPDATE points SET cell = 3 WHERE cell = 1", OF_POINTS),
    ("gauntlet", "DELETE FROM points WHERE cell = 1", OF_POINTS),
]


@pytest.mark.parametrize(("record", "statement", "message"), CHANGES)
def test_a_changed_row_or_curve_is_found(
    record: str, statement: str, message: str, request: pytest.FixtureRequest
) -> None:
    directory = request.getfixturevalue(record)
    change(directory, statement)
    with pytest.raises(NotVerified, match=f"^cell {message}"):
        verified(directory)


def test_a_database_that_does_not_name_its_sweep_is_damaged(copied: Path) -> None:
    change(copied, "DELETE FROM sweep")
    with pytest.raises(Damaged, match="does not name the sweep of its cells"):
        verified(copied)


def test_forged_points_with_a_valid_checksum_are_found(gauntlet: Path) -> None:
    packed = {name: np.zeros(40).tobytes() for name in BLOBS}
    blobs = ", ".join(f"{name} = x'{blob.hex()}'" for name, blob in packed.items())
    change(gauntlet, f"UPDATE points SET {blobs}, sha256 = '{points_checksum(1, packed)}' WHERE cell = 1")
    with pytest.raises(NotVerified, match=r"^cell 1 \(adam.*: computed again, the points of its curve differ$"):
        verified(gauntlet)


def test_a_gauntlet_without_points_is_verified_and_resumed_without_them(gauntlet: Path) -> None:
    change(gauntlet, "DROP TABLE points")
    change(gauntlet, "DELETE FROM cells WHERE cell > 1")
    change(gauntlet, "PRAGMA user_version = 0")
    assert resumed(gauntlet).complete
    assert verified(gauntlet, every_cell=True).recomputed == 4
    assert curves(gauntlet) == {}


def test_forged_numbers_with_valid_checksums_are_found(copied: Path) -> None:
    for row in rows(copied):
        del row["sha256"]
        forged = as_kept(row | {"regret": row["regret"] + 1})
        change(
            copied,
            f"UPDATE cells SET regret = {forged['regret']!r}, sha256 = '{checksum(forged)}' WHERE cell = {row['cell']}",
        )
    with pytest.raises(NotVerified, match=r"^cell \d+ .*: regret is"):
        verified(copied)


def test_a_sweep_without_results_is_rejected(tmp_path: Path) -> None:
    directory = swept(small(steps=100), tmp_path, Watched(0)).directory
    with pytest.raises(RunError, match="has no results yet"):
        verified(directory)
    (directory / "results.sqlite").unlink()
    with pytest.raises(RunError, match="has no results yet"):
        verified(directory)
    assert not (directory / "results.sqlite").exists()


def test_the_database_stores_minus_zero_as_zero_and_nan_as_null() -> None:
    kept = as_kept({"x": -0.0, "mean_x": float("nan"), "steps_simulated": 3, "failure": None})
    assert kept == {"x": 0.0, "mean_x": None, "steps_simulated": 3, "failure": None}
    assert checksum(kept) == checksum(as_kept({"failure": None, "steps_simulated": 3, "mean_x": None, "x": 0.0}))


def test_the_commands_output_and_exit_statuses(in_process: CommandLine, copied: Path) -> None:
    done = in_process("verify", str(copied))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "identical: 60 of 60 cells done, every checksum is right, 32 cells computed again have the same bits\n"
    )
    every = in_process("verify", str(copied), "--all", "--quiet")
    assert (every.returncode, every.stdout, every.stderr) == (0, "", "")
    change(copied, "UPDATE cells SET regret = 0 WHERE cell = 59")
    wrong = in_process("verify", str(copied))
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (4, "", 1)
    assert wrong.stderr.startswith("amsgrad-exp: cell 59 (amsgrad, beta2 = 0.999, lr = 0.1): regret is ")
    (copied / "results.sqlite").write_bytes(b"nonsense" * 200)
    damaged = in_process("verify", str(copied))
    assert (damaged.returncode, damaged.stderr.count("\n")) == (4, 1)
    rejected = in_process("verify", str(copied), "--engine", "torch")
    assert (rejected.returncode, rejected.stderr.count("\n")) == (2, 1)
    assert "--engine is for runs, and this is a sweep" in rejected.stderr
