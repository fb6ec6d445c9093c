"""Which of two rubric versions is the higher one."""

Precedence = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]


def precedence(version: str) -> Precedence:
    """What to compare semantic versions by: the higher version has the greater value.

    Args:
        version: As the front matter allows it: `MAJOR.MINOR.PATCH`, or with `-PRERELEASE`.

    Example:
        >>> precedence("1.10.0") > precedence("1.9.3")
        True
        >>> precedence("1.0.0-rc.2") < precedence("1.0.0-rc.11") < precedence("1.0.0")
        True

    Source: semver.org 2.0.0, §11.
    """
    core, _, prerelease = version.partition("-")
    numbers = tuple(int(part) for part in core.split("."))
    parts = tuple(
        (not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in prerelease.split(".") if prerelease
    )
    return numbers, not prerelease, parts
