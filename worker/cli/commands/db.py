"""`spotcheck db`: the schema."""

import typer

from worker.cli.context import unopened
from worker.cli.options import Json
from worker.cli.output import say, show_json
from worker.store import schema
from worker.store.engine import Store

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


def _store() -> Store:
    return unopened().store


@app.command("upgrade", short_help="Bring the schema to this program's version.")
def upgrade() -> None:
    """Bring the schema to this program's version; safe to repeat.

    Examples: spotcheck db upgrade
    """
    store = _store()
    if schema.state(store) == "newer":
        schema.ensure(store)  # says what to do
    schema.upgrade(store)
    say(f"{store.shown} has schema {schema.head()}")


@app.command("check", short_help="Whether the schema fits this program.")
def check(as_json: Json = False) -> None:
    """Whether the schema fits this program: empty, current, older or newer.

    Examples: spotcheck db check
    """
    store = _store()
    found = schema.state(store)
    if as_json:
        show_json({"database": store.shown, "state": found, "head": schema.head()})
    else:
        say(f"{store.shown}: {found} (this program has {schema.head()})")
