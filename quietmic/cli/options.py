"""Options that several commands share, and how those that travel together become one argument."""

import math
from collections.abc import Callable
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from quietmic.enhance.cluster.connect import Cluster
    from quietmic.enhance.measure.quality import EvaluationOptions
    from quietmic.enhance.measure.systems import Selection

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def gather(name: str, make: Callable[..., Any], *options: Decorator, keep: tuple[str, ...] = ()) -> Decorator:
    """Adds options to a command, which gets them as one argument.

    Args:
        name: of the argument.
        make: makes it; its parameters are named like the values of the options, and left out where there are none.
        options: in the order of the help; what one of them gathers is a value, too.
        keep: values that the command still gets on their own.
    """
    taken = list(signature(make).parameters)

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(command)
        def gathered(**values: Any) -> Any:
            made = make(**{key: values[key] for key in taken if key in values})
            others = {key: value for key, value in values.items() if key in keep or key not in taken}
            return command(**others, **{name: made})

        decorated: Callable[..., Any] = gathered
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


class FiniteRange(click.FloatRange):
    """Numbers in a range. To click "nan" lies in every range, and "inf" in those that are open above."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number that a text stands for."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number.", param, ctx)
        return number


def check_json(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuses to write figures over something else, such as the recording behind a --json without a file."""
    if value is None or value == "-":
        return value
    if Path(value).is_dir():
        raise click.BadParameter(f"{value} is a directory, but the figures need a file")
    _check_kept(Path(value), ".json")
    return value


def check_text(context: click.Context, parameter: click.Parameter, value: Path | None) -> Path | None:
    """The same for tables: --csv and --markdown."""
    if value is not None:
        _check_kept(value, ".csv" if parameter.name == "csv_path" else ".md")
    return value


def _check_kept(path: Path, ending: str) -> None:
    """Figures take the place of figures only, not of the sound, not of what a data set says of its files."""
    from quietmic.enhance.files.formats import is_audio_name

    if path.is_file() and (path.suffix.lower() != ending or path.stem.lower() in ("manifest", "index")):
        told = " and is no list of a data set or of models" if path.suffix.lower() == ending else ""
        raise click.BadParameter(f"{path} exists: figures only replace a file that ends in {ending}{told}")
    if not path.exists() and is_audio_name(path):
        raise click.BadParameter(f"{path} is the name of a sound, but figures end in {ending}")


def parse_channels(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Indices from a list such as "0,2,3"."""
    if value is None:
        return None
    try:
        channels = tuple(int(part) for part in value.split(","))
    except ValueError:
        channels = ()
    if not channels or min(channels) < 0 or len(set(channels)) < len(channels):
        raise click.BadParameter("give different channel numbers from 0 on, as in 0,1,2")
    return channels


def parse_counts(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Counts from a list such as "1,2,4"."""
    try:
        counts = tuple(dict.fromkeys(int(part) for part in value.split(",")))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise click.BadParameter("give numbers from 1 on, as in 1,2,4")
    return counts


path_type: Any = click.Path(path_type=Path)
file_in: Any = click.Path(path_type=Path, exists=True, dir_okay=False)
folder_in: Any = click.Path(path_type=Path, exists=True, file_okay=False)

json_option = click.option(
    "--json", "json_path", is_flag=False, flag_value="-", metavar="[FILE]", callback=check_json,
    help="Write the figures as JSON to FILE, or alone to standard output.",
)  # fmt: skip
markdown_option = click.option(
    "--markdown", "markdown_path", type=path_type, callback=check_text, help="Write the tables as Markdown."
)  # fmt: skip
model_option = click.option("--model", default="default", show_default=True, help="Name, or path of an .onnx file.")
limit_option = click.option(
    "--attenuation-limit", "attenuation_limit_db", type=FiniteRange(min=0), metavar="DB",
    help="Attenuate nothing by more than this.",
)  # fmt: skip
band_option = click.option(
    "--band", type=click.Choice(("full", "narrow")), default="full", show_default=True,
    help="Above 16 kHz: clean what lies beyond 8 kHz as well, or leave it out.",
)  # fmt: skip
live_model_option = click.option(
    "--model", metavar="NAME", help="Name, or path of an .onnx file; default: what this machine can bear."
)
live_band_option = click.option(
    "--band", type=click.Choice(("full", "narrow")),
    help="Run at 48 kHz and clean what lies beyond 8 kHz, 6 ms later, or leave it out; "
    "default: full where the microphone brings it and the machine bears it.",
)  # fmt: skip
channels_option = click.option(
    "--channels", callback=parse_channels, metavar="0,1,...", help="Channels to use, counted from 0; default: all."
)
jobs_option = click.option(
    "--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes."
)  # fmt: skip
records_option = click.option(
    "--records", type=path_type, default=Path("out/records"), show_default=True, help="Folder of the records of runs."
)


def device_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds what a live run is told of its devices and begins with."""
    options = (
        limit_option,
        click.option("--input", "input_name", metavar="DEV", help="Microphone: index or part of its name."),
        click.option("--output", "output_name", metavar="DEV", help="Loudspeaker: index or part of its name."),
        click.option("--channels", callback=parse_channels, metavar="0,1,...", help="Input channels: microphones."),
        click.option("--array", metavar="NAME", help="Array: a name of devices/boards.toml, or a file of one."),
        click.option("--virtual-mic", "virtual_microphone", is_flag=True, help="Be a microphone 'quietmic' (Linux)."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def make_cluster(
    cluster: str | None, tls_ca: Path | None, tls_cert: Path | None, tls_key: Path | None, jobs: int
) -> "Cluster | None":
    """The workers to use instead of processes, None without --cluster."""
    from quietmic.enhance.cluster.connect import choose_cluster

    return choose_cluster(cluster, jobs, tls_ca, tls_cert, tls_key)


cluster_options = gather(
    "cluster", make_cluster,
    click.option(
        "--cluster", metavar="ADDRESS",
        help="Use the workers of this dask scheduler, or 'local' for a cluster made here (--jobs workers, or one for "
        "each core).",
    ),
    click.option("--tls-ca", type=file_in, help="For --cluster tls://...: certificate of the authority, PEM."),
    click.option("--tls-cert", type=file_in, help="For --cluster tls://...: certificate of this client, PEM."),
    click.option("--tls-key", type=file_in, help="For --cluster tls://...: key of the certificate, PEM."),
    keep=("jobs",),
)  # fmt: skip


def make_selection(
    models: tuple[str, ...], peers: tuple[str, ...], mics: tuple[int, ...], peer_weights: Path | None
) -> "Selection":
    """What evaluate, bench, report and listen compare."""
    from quietmic.enhance.measure.systems import Selection

    return Selection(models, peers, mics, peer_weights)


selection_options = gather(
    "selection", make_selection,
    click.option("--model", "models", multiple=True, metavar="NAME", help="Name or .onnx; may be repeated."),
    click.option("--peer", "peers", multiple=True, metavar="NAME", help="Another enhancer; may be repeated."),
    click.option(
        "--peer-weights", type=click.Path(path_type=Path, file_okay=False), envvar="QUIETMIC_PEERS",
        help="Folder with the ONNX files of peers; also QUIETMIC_PEERS.",
    ),
    click.option(
        "--mics", callback=parse_counts, default="1", show_default=True, metavar="N,N",
        help="Numbers of microphones: the first N channels as an array.",
    ),
)  # fmt: skip


def make_evaluation(
    jobs: int, cache: Path, records: Path, fast: bool, asr: bool = False, cluster: "Cluster | None" = None
) -> "EvaluationOptions":
    """How an evaluation is run."""
    from quietmic.enhance.measure.quality import EvaluationOptions

    return EvaluationOptions(jobs, cache, records, cluster, fast=fast, asr=asr)


def evaluation_options(*more: Decorator) -> Decorator:
    """Adds --fast, --jobs, --cache and --records, and more of them; the command gets `how`."""
    fast = click.option("--fast", is_flag=True, help="Leave out DNSMOS, which takes longer than all other measures.")
    cache = click.option(
        "--cache", type=path_type, default=Path("out/cache/evaluate"), show_default=True,
        help="Folder of finished results.",
    )  # fmt: skip
    return gather("how", make_evaluation, fast, jobs_option, cache, records_option, *more)
