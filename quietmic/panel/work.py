"""Enhances what was uploaded: the same batch that the command line runs, one file after the other."""

import asyncio
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quietmic.devices.priority import lower_priority
from quietmic.enhance.catalogue import find_model
from quietmic.enhance.errors import QuietmicError
from quietmic.enhance.files.audio import AudioReader
from quietmic.enhance.files.batch import FileResult, Options
from quietmic.enhance.files.run import BatchOptions, plan_batch, run_batch
from quietmic.panel.names import enhanced_ending, enhanced_name
from quietmic.panel.preview import Preview, make_preview
from quietmic.panel.visits import Item, Visit
from quietmic.panel.wishes import FileWish

SOUND = "both.flac"
"""Of an item's folder: before and after in one."""

_LEAST_STEP = 0.01  # of progress that is told


class Work:
    """One thread that enhances; what it finds it tells in the server's loop."""

    def __init__(self) -> None:
        """Starts with nothing to do."""
        # Beside a live run, which goes before it.
        self._pool = ThreadPoolExecutor(1, "files", initializer=lower_priority)
        self._ends = False

    async def enhance(self, item: Item, wish: FileWish, tell: Callable[[], None]) -> None:
        """Enhances a file once the others before it are done.

        Args:
            item: the file, in which all that is found is entered.
            wish: how.
            tell: called in this loop after each change.
        """
        loop = asyncio.get_running_loop()

        def step(state: str, share: float = 0.0) -> None:
            item.state, item.share = state, share
            tell()

        def go_on() -> None:
            if item.is_gone or self._ends:
                raise QuietmicError("it is no longer wanted")

        def on_progress(share: float) -> None:
            go_on()
            if share >= item.share + _LEAST_STEP:
                item.share = share
                loop.call_soon_threadsafe(step, "enhancing", share)

        def run() -> tuple[FileResult, Path, Preview | None]:
            on_progress(0.0)
            loop.call_soon_threadsafe(step, "enhancing")
            target = item.folder / f"enhanced{enhanced_ending(item.name).lower()}"
            result = enhance_source(item.source, target, wish, on_progress)
            if result.status != "enhanced":
                return result, target, None
            loop.call_soon_threadsafe(step, "drawing", 1.0)
            return result, target, draw(item, target, result, go_on)

        item.target = item.sound = item.preview = None
        step("waiting")
        try:
            result, target, preview = await loop.run_in_executor(self._pool, run)
        except Exception as error:  # whatever it is, the page must not wait for ever
            item.about = [str(error) or f"it cannot be shown ({type(error).__name__})"]
            step("failed")
            return
        if preview is None:
            item.about = [result.reason]
            step("failed")
            return
        item.target, item.sound, item.preview = target, item.folder / SOUND, preview
        item.output = enhanced_name(item.name)
        item.about = result.warnings
        step("done", 1.0)

    def remove(self, visit: Visit) -> None:
        """Takes the files of a visit away, once the work on them has stopped."""
        for item in visit.items.values():
            item.is_gone = True
        self._pool.submit(shutil.rmtree, visit.folder, ignore_errors=True)

    def remove_item(self, item: Item) -> None:
        """Takes one file away, once the work on it has stopped."""
        item.is_gone = True
        self._pool.submit(shutil.rmtree, item.folder, ignore_errors=True)

    def close(self) -> None:
        """Ends the work, also that on a file at hand."""
        self._ends = True
        self._pool.shutdown(cancel_futures=True)


def enhance_source(source: Path, target: Path, wish: FileWish, on_progress: Callable[[float], None]) -> FileResult:
    """What `denoise` does with a file.

    Raises:
        QuietmicError: the model is not there.
    """
    stereo = wish.channels if wish.channels == "separate" else "auto"
    options = Options(find_model(wish.model), None, wish.channels == "array", wish.limit_db, stereo=stereo)
    batch = plan_batch([str(source)], target, options, BatchOptions(overwrite=True))
    (result,) = run_batch(batch, on_progress)
    return result


def draw(item: Item, target: Path, result: FileResult, go_on: Callable[[], None]) -> Preview:
    """Makes pictures and the sound of both; raises QuietmicError where one cannot be read."""
    with AudioReader(item.source) as reader:
        rate = reader.info.sample_rate
    return make_preview(item.source, target, round(result.audio_s * rate), item.folder / SOUND, go_on)
