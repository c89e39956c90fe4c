"""A headless Chromium for tests of pages; ``python -m tests.browser`` says whether there is one."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = "there is no Chromium: install Debian's chromium or Google Chrome, or name one in AMSGRAD_EXP_BROWSER"
# As root, in containers and without a network, a browser starts only with these.
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]


def executable() -> str | None:
    """Where a Chromium is, if there is one."""
    return os.environ.get("AMSGRAD_EXP_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser; where none starts, the test is skipped."""
    path = executable()
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            pytest.skip(f"{path} does not start: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


if __name__ == "__main__":
    sys.exit(None if executable() else MISSING)
