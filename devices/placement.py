"""Which devices a run uses, as they come and go and as others become the default."""

from dataclasses import replace

from quietmic.devices.plan import DuplexPlan, plan_again, plan_on
from quietmic.devices.server.watch import Watch
from quietmic.devices.sound import Sound


class Placement:
    """The plan in use, and the next one when it no longer holds.

    Attributes:
        plan: devices, rates and channels in use.
        watch: of the sound server, None as long as nothing there is watched.
    """

    def __init__(self, sound: Sound, plan: DuplexPlan, sample_rate: int, two_clocks: bool) -> None:
        """Starts with the plan that was made first.

        Args:
            sound: the sound systems.
            plan: devices, rates and channels.
            sample_rate: the model's, Hz.
            two_clocks: as for plan_duplex.
        """
        self._sound, self._sample_rate, self._two_clocks = sound, sample_rate, two_clocks
        self.plan = plan
        self.watch: Watch | None = None

    def missing_since(self, time_s: float) -> str:
        """Name of a device that was not in the server when that was asked after a monotonic time; else empty."""
        return self.watch.missing if self.watch and self.watch.looked_at > time_s else ""

    @property
    def is_outdated(self) -> bool:
        """Whether another device is the default now, and the run is to follow it."""
        return self.watch is not None and self.watch.wanted != self.watch.wiring

    def follow(self) -> None:
        """Plans for the devices that are the default now.

        Raises:
            QuietmicError: they cannot be used; what was in use stays.
        """
        assert self.watch is not None
        wanted, old = self.watch.wanted, self.plan
        source, sink = wanted.source or str(old.input.index), wanted.sink or str(old.output.index)
        self._use(plan_on(self._sound, self._sample_rate, old, source, sink, self._two_clocks))

    def stay(self) -> None:
        """Follows no default from now on."""
        assert self.watch is not None
        self.watch.wiring = self.watch.wanted = replace(self.watch.wiring, follows_source=False, follows_sink=False)

    def renew(self) -> None:
        """Plans for the devices that were lost, or for those that are the default instead.

        Raises:
            QuietmicError: they are not there, or have fewer channels.
        """
        if self.is_outdated:
            self.follow()
        else:
            self._use(plan_again(self._sound, self._sample_rate, self.plan, self._two_clocks))

    def _use(self, plan: DuplexPlan) -> None:
        self.plan = replace(plan, notes=self.plan.notes)
        if self.watch:
            source, sink = (device.name if device.is_on_server else "" for device in (plan.input, plan.output))
            self.watch.wiring = self.watch.wanted = replace(self.watch.wiring, source=source, sink=sink)
