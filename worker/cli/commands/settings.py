"""`spotcheck settings`: every setting with value and source."""

import json
from collections.abc import Iterator

from worker.cli.options import Json
from worker.cli.output import note, say, show_json
from worker.errors import SettingsError
from worker.scorers.registry import build
from worker.scorers.typed_settings import own_settings
from worker.settings import Settings, Value, read_here, unknown_variables


def settings(as_json: Json = False) -> None:
    """Every setting with its value, where it comes from, and what it means; secrets stay stars.

    With those of each heuristic that takes some, as in [scoring.settings.NAME]; one that cannot be used is left out.

    Examples: spotcheck settings
    """
    found, environ, toml = read_here()
    values = [*found.explain(environ, toml), *_of_scorers(found)]
    for unknown in unknown_variables(environ):
        note(unknown)
    if as_json:
        show_json({"settings": [value._asdict() for value in values]})
        return
    for value in values:
        say(f"{value.name} = {value.value}   ({value.source})")
        say(f"    {value.help}")


def _of_scorers(found: Settings) -> Iterator[Value]:
    """The settings of the heuristics in force; where these cannot be told, why."""
    try:
        heuristics = build(found.scoring, lambda _, why: note(why))
    except SettingsError as error:
        note(str(error))
        return
    for name, heuristic in heuristics.items():
        given = found.scoring.settings.get(name, {})
        for own in own_settings(heuristic.settings):
            if name == "valid_json" and own.key == "schemas":
                continue  # its table is [scoring.schemas]
            source = "spotcheck.toml" if own.key in given else "default"
            shown = json.dumps(own.value, ensure_ascii=False)
            yield Value(f"scoring.settings.{name}.{own.key}", shown, source, own.help or f"a setting of {name}")
