"""What a wrong line is, and a part of the program that has a list of them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutation:
    """One wrong line.

    Attributes:
        file: in the checkout.
        right: text that stands there once.
        wrong: what takes its place.
        what: for people.
    """

    file: str
    right: str
    wrong: str
    what: str


@dataclass(frozen=True)
class Part:
    """Wrong lines of a part of the program, and where to look for who notices them.

    Attributes:
        page: in docs/, which holds the table.
        found: in docs/data/: what is wrong -> the test that noticed it, or "".
        tests: name of a file -> tests of it, those first that look at it most closely.
        fast: expression of pytest that leaves out what takes long and sees no more.
        mutations: the wrong lines.
    """

    page: str
    found: str
    tests: dict[str, tuple[str, ...]]
    fast: str
    mutations: tuple[Mutation, ...]
