"""Energy that the processors of this machine take, by the counters of Intel and AMD (RAPL), where Linux shows them."""

from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def energy_of(work: Callable[[], object], powercap: Path = POWERCAP) -> float | None:
    """Energy in J that all processor packages take while some work runs, with whatever else the machine does then.

    Args:
        work: called once if there are counters; longer than some ms, as they are updated once in one.
        powercap: folder of the kernel's zones.

    Returns:
        None where no counter may be read: in most virtual machines, on boards, and for users other than root.
    """
    before = _read_counters(powercap)
    if not before:
        return None
    work()
    after = _read_counters(powercap)
    return 1e-6 * sum((after[path][0] - count) % (largest + 1) for path, (count, largest) in before.items())


def _read_counters(powercap: Path) -> dict[Path, tuple[int, int]]:
    """Zone of each package -> microjoules since some moment, and the count behind which they begin at zero again.

    Zones of cores and memory are parts of a package's, and that of the platform holds all of them.
    """
    found = {}
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            if (zone / "name").read_text().startswith("package"):
                found[zone] = int((zone / "energy_uj").read_text()), int((zone / "max_energy_range_uj").read_text())
        except OSError:
            continue  # not for us to read
    return found
