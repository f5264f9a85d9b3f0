"""The command `report`: the newest evaluation, or a new one, as a page; or a page to listen to."""

from collections.abc import Callable
from pathlib import Path

from quietmic.cli.evaluate import choose_systems, run_evaluation
from quietmic.enhance.catalogue import list_models
from quietmic.enhance.errors import UserError
from quietmic.enhance.measure.peers import find_peer, list_peers
from quietmic.enhance.measure.records import read_records
from quietmic.enhance.measure.systems import System
from quietmic.enhance.report.report import latest_evaluation, write_report

RECORDINGS = Path("recordings")


def run_report(
    folder: Path | None, choose: Callable[[], list[System]], path: Path, n_jobs: int, cache: Path, records: Path
) -> list[Path]:
    """Writes a report.

    Args:
        folder: evaluated first (finished results come from the cache); None for the newest record there is, and
            where there is none, recordings/.
        choose: gives what is evaluated; called only when something is.
        path: of the page.
        n_jobs: processes.
        cache: of the evaluation.
        records: folder of records.

    Returns:
        The files written.
    """
    evaluation = None if folder else latest_evaluation(records)
    if evaluation is None:
        run_evaluation(folder or RECORDINGS, choose(), n_jobs, cache, records)
        evaluation = read_records(records, "evaluate")[-1]
    return write_report(evaluation, path, records)


def report_systems(
    models: tuple[str, ...], peers: tuple[str, ...], mics: tuple[int, ...], weights: Path | None
) -> list[System]:
    """The models and peers named; where none is, all models and every peer that is installed.

    Raises:
        UserError: unknown names, or nothing at all to compare.
    """
    if not models and not peers:
        models = tuple(entry.name for entry in list_models())
        peers = tuple(name for name in list_peers() if _is_there(name, weights))
    if not models and not peers:
        raise UserError("no models are installed: name one with --model", exit_code=2)
    return choose_systems(models, peers, mics, weights)


def _is_there(name: str, weights: Path | None) -> bool:
    try:
        find_peer(name, weights)
    except UserError:
        return False
    return True
