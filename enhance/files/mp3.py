"""Frames of MP3: where they begin, what their headers say, and the header of lengths that many encoders leave out."""

from dataclasses import dataclass
from typing import BinaryIO

_RATES = (44100, 48000, 32000)
_KBITS = {  # by (is MPEG 1, layer): kbit/s of the indices 1..14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}  # by (is MPEG 1, is mono)
_LENGTHS_BYTES = 156  # of a header of lengths as LAME writes it
_SEARCH = 1 << 16  # bytes behind the tags in which the first frame must begin
_READ = 1 << 18  # bytes that are looked through at a time
_CHAIN = 4  # frames that do not follow each other by chance
_UNBOUNDED = 1 << 24  # frames of a length that nothing reaches: a hundred hours


@dataclass(frozen=True)
class FrameHeader:
    """What the four bytes in front of a frame say.

    Attributes:
        layer: 1..3.
        sample_rate: Hz.
        bit_rate: bits per second.
        n_samples: of each channel in this frame.
        n_bytes: of this frame.
        side_bytes: between the header and what follows it in layer 3.
    """

    layer: int
    sample_rate: int
    bit_rate: int
    n_samples: int
    n_bytes: int
    side_bytes: int


def parse_header(head: bytes) -> FrameHeader | None:
    """The header of a frame (ISO 11172-3, 2.4.1.3); None where the bytes are none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3
    if version == 1 or layer == 4 or rate == 3 or head[2] >> 4 in (0, 15):
        return None
    first, mono = version == 3, head[3] >> 6 == 3
    sample_rate = _RATES[rate] >> (0 if first else 1 if version == 2 else 2)
    bit_rate = 1000 * _KBITS[first, layer][(head[2] >> 4) - 1]
    n_samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    padding = head[2] >> 1 & 1
    n_bytes = 4 * (12 * bit_rate // sample_rate + padding) if layer == 1 else n_samples // 8 * bit_rate // sample_rate
    side_bytes = _SIDE_BYTES[first, mono]
    return FrameHeader(layer, sample_rate, bit_rate, n_samples, n_bytes + (padding if layer > 1 else 0), side_bytes)


def end_of_id3(stream: BinaryIO, start: int = 0) -> int:
    """Position behind the ID3v2 tags at the beginning."""
    while True:
        stream.seek(start)
        head = stream.read(10)
        if len(head) < 10 or head[:3] != b"ID3" or any(byte & 0x80 for byte in head[6:]):
            return start
        size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        start += 10 + size + (10 if head[5] & 0x10 else 0)


def end_of_frames(stream: BinaryIO, end: int) -> int:
    """Position of the tags at the end: ID3v1, APE."""
    for size_of in (_size_of_id3v1, _size_of_ape):
        end -= size_of(stream, end)
    return end


def _size_of_id3v1(stream: BinaryIO, end: int) -> int:
    stream.seek(max(0, end - 128))
    return 128 if stream.read(3) == b"TAG" else 0


def _size_of_ape(stream: BinaryIO, end: int) -> int:
    stream.seek(max(0, end - 32))
    foot = stream.read(32)
    if foot[:8] != b"APETAGEX":
        return 0
    return min(end, int.from_bytes(foot[12:16], "little") + (32 if foot[23] & 0x80 else 0))


def first_frame(stream: BinaryIO, end: int) -> tuple[int, FrameHeader] | None:
    """Position and header of the first frame, which others follow; None where there is none.

    Samples of any other kind look like a frame now and then: behind other bytes it takes a chain of frames.
    """
    start = end_of_id3(stream)
    stream.seek(start)
    data = stream.read(_SEARCH)
    at = data.find(0xFF)
    while at >= 0:
        header = parse_header(data[at : at + 4])
        if header and _is_followed(stream, start + at, header, end, 1 if at == 0 else _CHAIN):
            return start + at, header
        at = data.find(0xFF, at + 1)
    return None


def _is_followed(stream: BinaryIO, at: int, header: FrameHeader, end: int, n_frames: int) -> bool:
    """Whether so many frames of the same kind follow; one at the beginning may also reach to the end."""
    kind = header.layer, header.sample_rate
    for number in range(n_frames):
        at += header.n_bytes
        if at >= end:
            return number == 0 and n_frames == 1
        stream.seek(at)
        following = parse_header(stream.read(4))
        if following is None or (following.layer, following.sample_rate) != kind:
            return False
        header = following
    return True


@dataclass(frozen=True)
class LengthHeader:
    """The frame without sound that says how many follow: "Xing" where their bit rate varies, "Info" where not.

    Attributes:
        position: of the name.
        n_frames: that follow; None where it does not say.
        n_bytes: of all frames with this one; None where it does not say.
        is_constant: every frame has the same bit rate.
    """

    position: int
    n_frames: int | None
    n_bytes: int | None
    is_constant: bool


def has_room_for_lengths(bit_rate: int, sample_rate: int, n_channels: int) -> bool:
    """Whether a frame of this rate holds the header of lengths that encoders write; without it they leave it out."""
    is_first = sample_rate >= 32000
    side_bytes = _SIDE_BYTES[is_first, n_channels == 1]
    return (1152 if is_first else 576) // 8 * bit_rate // sample_rate >= 4 + side_bytes + _LENGTHS_BYTES


def length_header(stream: BinaryIO, at: int, header: FrameHeader) -> LengthHeader | None:
    """What the first frame says of the length, None where it is a frame of sound."""
    stream.seek(at)
    frame = stream.read(header.n_bytes)
    position = 4 + header.side_bytes
    name = frame[position : position + 4]
    if header.layer != 3 or name not in (b"Xing", b"Info"):
        return None
    flags, *numbers = (int.from_bytes(frame[position + i : position + i + 4], "big") for i in (4, 8, 12))
    n_frames = numbers.pop(0) if flags & 1 else None
    n_bytes = numbers.pop(0) if flags & 2 else None
    return LengthHeader(at + position, n_frames, n_bytes, name == b"Info")


def unbounded_frame(stream: BinaryIO, at: int) -> bytes:
    """A frame without sound, of the kind of the one at `at`, that tells of more frames than there ever are.

    Decoders then go on to the end.
    """
    stream.seek(at)
    head = bytearray(stream.read(4))
    head[1] |= 1  # no checksum
    for index in range(1, 15):  # the smallest frame that holds the numbers
        head[2] = head[2] & 0x0D | index << 4
        frame = parse_header(bytes(head))
        assert frame
        content = bytes(head) + bytes(frame.side_bytes) + b"Xing" + (1).to_bytes(4, "big") + unbounded_count()
        if len(content) <= frame.n_bytes:
            return content + bytes(frame.n_bytes - len(content))
    raise AssertionError("every frame of the highest bit rate holds the numbers")


def unbounded_count() -> bytes:
    """The number of frames that stands for "to the end"."""
    return _UNBOUNDED.to_bytes(4, "big")


def scan_bit_rates(stream: BinaryIO, at: int, end: int, n_frames: int = 500) -> tuple[int, bool]:
    """(Mean bits per second of the first frames, whether all have the same)."""
    rates: list[int] = []
    while at < end and len(rates) < n_frames:
        stream.seek(at)
        header = parse_header(stream.read(4))
        if header is None:
            break
        rates.append(header.bit_rate)
        at += header.n_bytes
    return round(sum(rates) / max(1, len(rates))), len(set(rates)) == 1


def count_frames(stream: BinaryIO, at: int, end: int, kind: FrameHeader) -> int:
    """Frames from a position on; what is damaged between them is passed over."""
    n_frames, begin, data = 0, at, b""
    while at < end:
        if at + 4 > begin + len(data):
            stream.seek(at)
            begin, data = at, stream.read(min(_READ, end - at))
        here = at - begin
        header = parse_header(data[here : here + 4])
        if header and (header.layer, header.sample_rate) == (kind.layer, kind.sample_rate):
            n_frames += 1
            at += header.n_bytes
            continue
        found = data.find(0xFF, here + 1)
        at = begin + (found if found >= 0 else max(len(data) - 3, here + 1))
    return n_frames
