#!/bin/bash
# build.sh DIR: an arm64 root file system with Python and the run time's wheels in DIR, for qemu-user.
#
# Needs no root, chroot or binfmt: Debian's packages come from this machine's own package sources and are unpacked,
# not installed; the wheels are downloaded for aarch64.
set -euo pipefail
case "${1:---help}" in -h | --help) sed -n '2,/^set /{/^#/s/^# \?//p}' "$0"; exit ;; esac

dir=$(realpath -m "$1")
project=$(realpath "$(dirname "$0")/../..")
python=${PYTHON:-python3}
mkdir -p "$dir"/apt/lists/partial "$dir"/apt/cache/archives/partial "$dir"/rootfs "$dir"/wheels
cd "$dir"

# The first Debian archive among the sources, in the old one-line or the new deb822 form.
uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v '^ *#' |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ') || true
[ -n "$uri" ] || { echo "no Debian archive among the package sources" >&2; exit 1; }
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [arch=arm64 signed-by=$keys] $uri bookworm main" >apt/sources.list
: >apt/status
apt=(
    apt-get -qq
    -o APT::Architecture=arm64 -o APT::Architectures=arm64
    -o Dir::State::status="$dir/apt/status" -o Dir::State::lists="$dir/apt/lists"
    -o Dir::Cache="$dir/apt/cache" -o Dir::Etc::sourcelist="$dir/apt/sources.list" -o Dir::Etc::sourceparts=-
    -o APT::Sandbox::User=root -o Debug::NoLocking=1
)
if [ ! -e rootfs/usr/bin/python3.11 ]; then
    "${apt[@]}" update
    "${apt[@]}" --no-install-recommends --download-only --yes install \
        python3-minimal python3.11 libstdc++6 zlib1g ca-certificates- >/dev/null
    for package in apt/cache/archives/*.deb; do
        dpkg-deb -x "$package" rootfs
    done
fi

# What the processor of a board says of itself; onnxruntime reads it when it is imported. The files of the
# emulated tree come before the machine's own.
cpus=rootfs/sys/devices/system/cpu
mkdir -p $cpus rootfs/proc
for name in possible present online; do echo 0-3 >$cpus/$name; done
echo 7 >$cpus/kernel_max
: >rootfs/proc/cpuinfo
for n in 0 1 2 3; do
    {
        printf 'processor\t: %d\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' $n
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n'
    } >>rootfs/proc/cpuinfo
    mkdir -p $cpus/cpu$n/topology $cpus/cpu$n/cpufreq $cpus/cpu$n/regs/identification
    echo 1800000 >$cpus/cpu$n/cpufreq/cpuinfo_max_freq
    echo 600000 >$cpus/cpu$n/cpufreq/cpuinfo_min_freq
    echo 0 >$cpus/cpu$n/topology/physical_package_id
    echo $n >$cpus/cpu$n/topology/core_id
    echo $n >$cpus/cpu$n/topology/thread_siblings_list
    echo 0-3 >$cpus/cpu$n/topology/core_siblings_list
    echo 0-3 >$cpus/cpu$n/topology/cluster_cpus_list
    echo 0x00000000410fd083 >$cpus/cpu$n/regs/identification/midr_el1
    index=0
    for cache in "1 Data 32K $n" "1 Instruction 48K $n" "2 Unified 1024K 0-3"; do
        read -r level type size shared <<<"$cache"
        mkdir -p $cpus/cpu$n/cache/index$index
        echo "$level" >$cpus/cpu$n/cache/index$index/level
        echo "$type" >$cpus/cpu$n/cache/index$index/type
        echo "$size" >$cpus/cpu$n/cache/index$index/size
        echo "$shared" >$cpus/cpu$n/cache/index$index/shared_cpu_list
        echo 64 >$cpus/cpu$n/cache/index$index/coherency_line_size
        index=$((index + 1))
    done
done
printf 'Revision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n' >>rootfs/proc/cpuinfo

# The dependencies of the run time, as pyproject.toml names them.
if [ ! -d site/onnxruntime ]; then
    "$python" - "$project/pyproject.toml" >requirements.txt <<'PYTHON'
import sys
import tomllib

with open(sys.argv[1], "rb") as file:
    print("\n".join(tomllib.load(file)["project"]["dependencies"]))
PYTHON
    for_board=(--only-binary=:all: --python-version 3.11 --implementation cp)
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_26 manylinux_2_17 manylinux2014; do
        for_board+=(--platform ${tag}_aarch64)
    done
    "$python" -m pip download --quiet "${for_board[@]}" -d wheels -r requirements.txt
    "$python" -m pip install --quiet --no-index --find-links wheels "${for_board[@]}" --target site -r requirements.txt
fi
du -sm rootfs site
