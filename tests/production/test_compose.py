"""docker-compose.yml: valid, complete, hardened, and made of commands that exist."""

import json
from collections.abc import Callable
from copy import deepcopy
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import typer.main

from tests.support.compose import ROOT, Unset, stack, substituted, variables
from worker.cli import app as door
from worker.cli.process.health import LANES, quickly
from worker.settings import VARIABLES

pytest.importorskip("check_jsonschema")
OURS = ("migrate", "judge", "control", "beat", "cli")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The compose specification's own schema, from a package."""
    place = files("check_jsonschema").joinpath("builtin_schemas", "vendor", "compose-spec.json")
    read: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    return read


def problems(schema: dict[str, Any], document: Any) -> list[str]:
    kind = jsonschema.validators.validator_for(schema)
    return [error.message for error in kind(schema).iter_errors(document)]


def test_it_is_valid_by_the_compose_specification(schema: dict[str, Any]) -> None:
    assert problems(schema, stack()) == []


def _no_such_key(document: dict[str, Any]) -> None:
    document["services"]["judge"]["helthcheck"] = {}


def _a_number_for_a_list(document: dict[str, Any]) -> None:
    document["services"]["redis"]["cap_drop"] = 5


def _no_such_section(document: dict[str, Any]) -> None:
    document["service"] = {}


def _a_condition_without_its_service(document: dict[str, Any]) -> None:
    document["services"]["beat"]["depends_on"] = {"migrate": {"condition": "service_done"}}


def _a_mount_without_a_type(document: dict[str, Any]) -> None:
    del document["services"]["judge"]["volumes"][0]["type"]


@pytest.mark.parametrize(
    "spoil",
    [
        _no_such_key,
        _a_number_for_a_list,
        _no_such_section,
        _a_condition_without_its_service,
        _a_mount_without_a_type,
    ],
)
def test_a_wrong_file_is_found_out(schema: dict[str, Any], spoil: Callable[[dict[str, Any]], None]) -> None:
    document = deepcopy(stack())
    spoil(document)
    assert problems(schema, document)


def test_the_example_names_every_variable_and_no_other() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    told = {
        line.removeprefix("# ").partition("=")[0] for line in lines if "=" in line and " " not in line.split("=")[0][2:]
    }
    assert told == set(variables())


def test_the_example_holds_no_secret_and_only_the_password_must_be_given() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert not [line for line in lines if "=" in line and not line.startswith("#") and line.split("=")[1]]
    assert [name for name, default in variables().items() if default == "?"] == ["POSTGRES_PASSWORD"]
    with pytest.raises(Unset, match="POSTGRES_PASSWORD: put a long one"):
        substituted(stack(), {"POSTGRES_PASSWORD": ""})
    assert substituted(stack(), {"POSTGRES_PASSWORD": "x"})


def test_every_setting_of_the_environment_can_be_given_through_it() -> None:
    beside = {"SPOTCHECK_PROMPTS", "SPOTCHECK_CLOCK"}  # a mount; and a rehearsal has no business in production
    destinations = {name for name, variable in VARIABLES.items() if variable.sink not in (None, "webhook")}
    for name in OURS:
        given = set(stack()["services"][name]["environment"])
        assert given - destinations == set(VARIABLES) - beside - destinations


def command_of(service: dict[str, Any]) -> list[str]:
    return [*service.get("entrypoint", []), *service["command"]]


@pytest.mark.parametrize("name", OURS)
def test_its_commands_are_commands(name: str) -> None:
    program, *arguments = command_of(stack()["services"][name])
    assert program == "spotcheck"
    command: Any = typer.main.get_command(door.app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    context = command.make_context("spotcheck", list(arguments))  # raises where an option or a value is none
    assert not context.args


def test_its_health_checks_ask_for_lanes_that_their_own_worker_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTCHECK_DATABASE_URL", "sqlite:///there-is-none.db")
    served = {"judge": {"judge"}, "control": {"control", "heuristics"}, "beat": {"beat"}}
    for name, lanes in served.items():
        kind, program, *arguments = stack()["services"][name]["healthcheck"]["test"]
        assert (kind, program) == ("CMD", "spotcheck")
        assert {word for word in arguments if word in LANES} == lanes
        assert quickly(arguments) == 1  # taken by the short way: this is asked every half minute
        if name != "beat":
            queues = command_of(stack()["services"][name])[3].split(",")
            assert set(queues) == lanes


@pytest.mark.parametrize("name", ["postgres", "redis", *OURS])
def test_every_service_is_hardened(name: str) -> None:
    service = stack()["services"][name]
    assert service["user"].partition(":")[0] not in ("", "0", "root")
    assert service["read_only"]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert any(mount.startswith(("/tmp", "/data")) for mount in service["tmpfs"])


def test_the_others_wait_until_the_schema_is_there() -> None:
    services = stack()["services"]
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert services["migrate"]["restart"] == "no"
    for name in ("judge", "control", "beat", "cli"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[name]["depends_on"]["redis"]["condition"] == "service_healthy"


def test_a_file_that_is_not_there_never_becomes_a_folder_of_roots() -> None:
    services = substituted(stack(), {"POSTGRES_PASSWORD": "x"})["services"]
    binds = [
        mount
        for service in services.values()
        for mount in service.get("volumes", [])
        if isinstance(mount, dict) or mount.startswith((".", "/"))
    ]
    assert len(binds) == 2 * len(OURS)
    for mount in binds:
        assert mount["bind"] == {"create_host_path": False}
        assert mount["read_only"]
        assert (ROOT / mount["source"]).exists()  # in a fresh clone, with nothing set
    named = {
        mount.split(":")[0]
        for service in services.values()
        for mount in service.get("volumes", [])
        if isinstance(mount, str)
    }
    assert named == set(stack()["volumes"])


def test_images_are_pinned_to_a_major_version() -> None:
    services = stack()["services"]
    images = {services[name]["image"] for name in ("postgres", "redis")}
    assert all(image.partition(":")[2].isdecimal() for image in images)
    assert all(services[name]["build"] == "." for name in OURS)
