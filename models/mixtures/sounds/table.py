"""The made sounds by name."""

from quietmic.models.mixtures.sounds import alarms, household, machines, nature
from quietmic.models.mixtures.sounds.blocks import Generator

_MACHINES: tuple[Generator, ...] = (
    machines.coloured,
    machines.hum,
    machines.switched_hum,
    machines.engine,
    machines.fan,
    machines.vacuum_cleaner,
    machines.drill,
    machines.propeller,
    machines.train_ride,
    machines.stepper,
    machines.interference,
    machines.washing_machine,
    machines.spray,
)
_SIGNALS: tuple[Generator, ...] = (
    alarms.siren,
    alarms.beeps,
    alarms.telephone,
    alarms.bells,
    alarms.chords,
    alarms.melody,
    alarms.drums,
)
_NATURE: tuple[Generator, ...] = (
    nature.rain,
    nature.wind,
    nature.waves,
    nature.dripping,
    nature.stream,
    nature.fire,
    nature.thunder,
    nature.birds,
    nature.insects,
    nature.fly,
    nature.animal,
    nature.frogs,
    nature.leaves,
)
_HOUSEHOLD: tuple[Generator, ...] = (
    household.clatter,
    household.dishes,
    household.typing,
    household.clicking,
    household.footsteps,
    household.knocking,
    household.tearing,
    household.scraping,
    household.squeaking,
    household.applause,
    household.bouncing,
    household.shaking,
)
GENERATORS: dict[str, Generator] = {
    getattr(make, "__name__", ""): make for make in (*_MACHINES, *_SIGNALS, *_NATURE, *_HOUSEHOLD)
}
