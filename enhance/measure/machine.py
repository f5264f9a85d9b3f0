"""What a figure was measured on: processor, governor, memory, versions, commit. Unreadable facts are None."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from quietmic.enhance.cluster.cores import usable_cores

PACKAGES = ("quietmic", "numpy", "onnxruntime", "soxr", "soundfile", "pesq", "pystoi", "speechmos", "torch")


def describe_machine() -> dict[str, str | int | None]:
    """Processor, its instructions for 8-bit products, usable cores, governor, memory in bytes, system and Python."""
    return {
        "cpu": _cpu_name(),
        "int8": _int8_instructions(),
        "cores": usable_cores(),
        "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "memory_bytes": _memory_bytes(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def package_versions() -> dict[str, str | None]:
    """Installed version of everything that decides figures; None where a package is not installed."""
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return versions


def git_commit() -> str | None:
    """Commit of the code that runs, with "+" behind it where files differ from it; None outside a checkout."""
    folder = Path(__file__).parent
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return commit + ("+" if _git(folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def read_cpuinfo(root: Path = Path("/")) -> dict[str, str]:
    """What Linux tells of the processor (of its first core), by name; nothing on other systems.

    Args:
        root: where /proc lies; for tests.
    """
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in reversed(lines))  # so that the first core's stay
    return {name.strip(): value.strip() for name, _, value in pairs}


def _cpu_name() -> str | None:
    told = read_cpuinfo()
    # x86 calls it "model name", boards of ARM "Model" or, at least, "CPU part".
    names = (told.get(key) for key in ("model name", "Model", "Hardware", "CPU part"))
    return next((name for name in names if name), None) or platform.processor() or None


def _int8_instructions() -> str | None:
    """By which name the processor has them (VNNI on x86, SDOT on ARM), None where it has none or tells nothing."""
    told = read_cpuinfo()
    flags = f"{told.get('flags', '')} {told.get('Features', '')}".split()
    known = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI", "asimddp": "SDOT"}
    return next((name for flag, name in known.items() if flag in flags), None)


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
