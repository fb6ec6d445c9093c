"""`spotcheck settings`: every setting with value and source."""

from worker.cli.options import Json
from worker.cli.output import note, say, show_json
from worker.settings import read_here, unknown_variables


def settings(as_json: Json = False) -> None:
    """Every setting with its value, where it comes from, and what it means; secrets stay stars.

    Examples: spotcheck settings
    """
    found, environ, toml = read_here()
    values = list(found.explain(environ, toml))
    for unknown in unknown_variables(environ):
        note(unknown)
    if as_json:
        show_json({"settings": [value._asdict() for value in values]})
        return
    for value in values:
        say(f"{value.name} = {value.value}   ({value.source})")
        say(f"    {value.help}")
