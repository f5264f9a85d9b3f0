"""The commands about sound devices: `live`, `devices` and `board`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from quietmic.cli.lines import one_line
from quietmic.cli.options import FiniteRange, device_options, json_option, live_band_option, live_model_option

if TYPE_CHECKING:
    from quietmic.devices.board import Board
    from quietmic.devices.choice import Choice
    from quietmic.enhance.served import Band

WHERE_DEVICES_ARE = {
    "linux": "the system has no sound card, and no sound server answers. On a desktop start it "
    "(`systemctl --user restart pipewire-pulse` or `pulseaudio --start`); elsewhere `arecord -l` lists the cards",
    "darwin": "System Settings lists them under Sound, and under Privacy & Security, Microphone, lets a terminal hear",
    "win32": "Settings lists them under System, Sound, and under Privacy, Microphone, lets desktop apps hear them",
}


@click.command(short_help="Enhance a microphone live and play the result.")
@live_model_option
@device_options
@live_band_option
@click.option("--virtual-speaker", is_flag=True, help="Be a loudspeaker 'quietmic-speaker' that cleans what it plays.")
@click.option("--echo-cancel", is_flag=True, help="The sound server's echo canceller before the microphone (Linux).")
@click.option("--always-on", is_flag=True, help="Do not rest while no program uses the virtual device.")
@click.option("--record", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Record to FLAC.")
@click.option("--duration", "duration_s", type=FiniteRange(min=0, min_open=True), metavar="S", help="Seconds.")
@click.option("--no-ui", is_flag=True, help="Plain messages instead of the terminal view.")
@click.option("--auto", is_flag=True, help="Step down to a smaller model when the machine is too slow.")
@click.option("--latency", default="auto", show_default=True, metavar="low|high|S", help="Asked of the sound system.")
@click.option("--jitter", "jitter_ms", type=FiniteRange(0, 1000), metavar="MS", help="Buffer; default: measured.")
@click.option("--two-clocks", is_flag=True, help="Correct drift between input and output even on one card.")
@click.option("--board", "board_name", metavar="NAME", help="Board profile; default: detected.")
@click.option("--install", "service", flag_value="install", help="Be that microphone from each login on (systemd).")
@click.option("--uninstall", "service", flag_value="uninstall", help="No longer.")
@click.option("--status", "service", flag_value="status", help="Tell whether that is so.")
@json_option
@click.pass_context
def live(
    context: click.Context, json_path: str | None, model: str | None, board_name: str | None, no_ui: bool,
    service: str | None, band: "Band | None", **choices: Any,
) -> None:  # fmt: skip
    """Enhance a microphone live and play the result to a device."""
    if service == "install":
        choices["virtual_microphone"] = True
    refuse_contradictions(**choices)
    if service:
        return manage_service(service, given_options(context))
    from quietmic.cli.candidates import live_candidates
    from quietmic.cli.output import put_json
    from quietmic.cli.view import live_view
    from quietmic.devices.board import detect_board, find_board
    from quietmic.devices.live import no_view, run_live
    from quietmic.devices.options import live_options

    profile = find_board(board_name) if board_name else detect_board()[0]
    options = live_options(profile, **choices)
    candidates = live_candidates(model, profile.default_model, options.auto, band)
    shows_view = not no_ui and json_path != "-" and sys.stdout.isatty()
    try:
        summary = run_live(options, candidates, profile, model is None, live_view if shows_view else no_view)
    except KeyboardInterrupt:  # before it ran
        return
    if json_path is not None:
        put_json(summary, json_path)


def refuse_contradictions(
    virtual_microphone: bool, virtual_speaker: bool, echo_cancel: bool, input_name: str | None,
    output_name: str | None, **others: Any,
) -> None:  # fmt: skip
    """Refuses options of which one would be left out without a word."""
    if virtual_microphone and virtual_speaker:
        raise click.UsageError("one run is a microphone or a loudspeaker: start two for both")
    if virtual_speaker and echo_cancel:
        raise click.UsageError("--echo-cancel is for a microphone, not for --virtual-speaker")
    if virtual_speaker and input_name:
        raise click.UsageError("--virtual-speaker hears what programs play: leave out --input")
    if virtual_microphone and output_name and not echo_cancel:
        raise click.UsageError("--virtual-mic is heard by programs: leave out --output")


def given_options(context: click.Context) -> list[str]:
    """The options that were typed, as they would be typed again, but those that a service has anyway."""
    words: list[str] = []
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        value = context.params.get(parameter.name or "")
        if source != ParameterSource.COMMANDLINE or parameter.name in ("service", "virtual_microphone", "no_ui"):
            continue
        words.append(parameter.opts[0])
        if not getattr(parameter, "is_flag", False):
            words.append(",".join(map(str, value)) if isinstance(value, tuple) else str(value))
    return words


def manage_service(action: str, options: list[str]) -> None:
    """Installs, removes or describes the service."""
    from quietmic.devices import service

    if action == "install":
        click.echo(service.install(options))
    else:
        click.echo(service.uninstall() if action == "uninstall" else service.status())


@click.command(
    short_help="Steer the running `live` and print its state.",
    context_settings={"ignore_unknown_options": True},  # -3 is a limit, which is refused as one
)
@click.argument("words", nargs=-1, required=True, metavar="bypass|mute|record|limit DB|quit|status")
@json_option
def ctl(words: tuple[str, ...], json_path: str | None) -> None:
    """Steer the running `live` and print its state.

    Bypass, mute and record switch, or take "on" or "off"; limit takes dB or "none".
    """
    from quietmic.cli.output import put_json
    from quietmic.devices.remote import send_command

    state = send_command(list(words))
    if json_path is not None:
        put_json(state, json_path)
        return
    for name, value in state.items():
        text = (
            f"{value:.1f}" if isinstance(value, float) else {True: "on", False: "off", None: "none"}.get(value, value)
        )
        click.echo(f"{name.replace('_', ' '):10s}  {text}")


@click.command()
@json_option
def devices(json_path: str | None) -> None:
    """List the sound devices, their channels and rates."""
    from quietmic.cli.output import put_json
    from quietmic.devices.listing import format_devices
    from quietmic.devices.sound import Sound
    from quietmic.enhance.errors import QuietmicError

    found = Sound.find().list_devices()
    if not found:
        where = WHERE_DEVICES_ARE.get(sys.platform, "the system has no sound card")
        raise QuietmicError(f"there are no sound devices: {where}")
    if json_path is None:
        click.echo(format_devices(found))
    else:
        put_json([device.to_dict() for device in found], json_path)


@click.command(short_help="Tell the board profile of this machine and its model.")
@json_option
def board(json_path: str | None) -> None:
    """Tell the board profile of this machine, why it was taken, and the model that the machine can bear."""
    from dataclasses import asdict

    from quietmic.cli.candidates import live_candidates
    from quietmic.cli.output import put_json
    from quietmic.devices.board import detect_board
    from quietmic.devices.choice import choose_model
    from quietmic.enhance.catalogue import read_catalogue

    profile, reason = detect_board()
    catalogue = read_catalogue()
    candidates = live_candidates(None, preferred=profile.default_model) if catalogue.models else []
    for model in catalogue.missing:
        if not model.is_damaged:  # that stands in the log
            click.echo(one_line(model.reason), err=True)
    choice = choose_model(candidates, 1, profile.threads) if candidates else None
    if json_path is not None:
        put_json(asdict(profile) | {"reason": reason, "choice": choice and asdict(choice)}, json_path)
    else:
        show_board(profile, reason, choice)


def show_board(profile: "Board", reason: str, choice: "Choice | None") -> None:
    """The profile, and the model in one more line."""
    from quietmic.devices.board import format_board

    click.echo(format_board(profile, reason))
    click.echo(f"model    {choice.model}: {choice.reason}" if choice else "model    none is installed")
