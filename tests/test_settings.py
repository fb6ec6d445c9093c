"""Settings: the environment over the file, errors that name file, key, found and allowed, secrets that stay stars."""

import contextlib
import re
import traceback
from datetime import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.errors import SettingsError
from worker.settings import VARIABLES, Settings, Value, read_here, unknown_variables, without_password
from worker.settings.sections_judge import JudgeSection, ModelQuota

SECRET = "s3cret"


def complaint(toml: str | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as raised:
        Settings.read(environ, toml)
    line = str(raised.value)
    assert "\n" not in line
    return line


def explained(toml: str | None = None, **environ: str) -> dict[str, Value]:
    return {value.name: value for value in Settings.read(environ, toml).explain(environ, toml)}


def test_the_environment_wins_over_the_file() -> None:
    toml = '[judge]\nmodel = "from-file"\nconcurrency = 3\n'
    read = Settings.read({"SPOTCHECK_JUDGE_MODEL": "from-env"}, toml)
    assert (read.judge.model, read.judge.concurrency) == ("from-env", 3)


def test_an_empty_variable_counts_as_not_given() -> None:
    read = Settings.read({"SPOTCHECK_JUDGE_MODEL": "  ", "SPOTCHECK_DATABASE_URL": ""}, '[judge]\nmodel = "m"\n')
    assert (read.judge.model, read.database) == ("m", "sqlite:///spotcheck.db")


def test_every_variable_reaches_its_setting() -> None:
    read = Settings.read(
        {
            "SPOTCHECK_DATABASE_URL": "sqlite:////tmp/x.db",
            "SPOTCHECK_BROKER_URL": "redis://localhost",
            "SPOTCHECK_PROMPTS": "p",
            "SPOTCHECK_JUDGE_MODEL": "m",
            "SPOTCHECK_JUDGE_CONCURRENCY": "7",
            "SPOTCHECK_SETTLE_S": "1.5",
            "OPENAI_API_KEY": SECRET,
            "OPENAI_BASE_URL": "http://localhost/v1",
        }
    )
    assert (read.database, read.broker, read.prompts, read.settle_s) == (
        *("sqlite:////tmp/x.db", "redis://localhost", "p"),
        1.5,
    )
    assert (read.judge.model, read.judge.concurrency, read.judge.base_url) == ("m", 7, "http://localhost/v1")
    assert read.openai_api_key is not None
    assert read.openai_api_key.get_secret_value() == SECRET


def test_a_variable_is_named_by_its_setting_alone_and_its_help_says_the_same() -> None:
    told = {name: value for value in explained().values() for name in re.findall(r"Env: ([A-Z_]+)", value.help)}
    assert set(told) == {name for name, variable in VARIABLES.items() if name in told or variable.sink is None}
    for name in told:
        if VARIABLES[name].is_environment_only:
            assert f"set {name} instead" in complaint(f'{told[name].name} = "x"')


def test_what_is_secret_is_shown_nowhere_and_blanked_in_log_lines() -> None:
    secrets = [name for name, variable in VARIABLES.items() if variable.kind == "secret"]
    assert {"SPOTCHECK_WEBHOOK_URL", "SPOTCHECK_WEBHOOK_SECRET", "OPENAI_API_KEY"} <= set(secrets)
    given = {name: f"secret-of-{name}" for name in secrets}
    read = Settings.read(given)
    assert read.secrets == set(given.values())
    assert "secret-of" not in "".join(repr(value) for value in read.explain(given)) + repr(read)


def test_a_destination_is_in_use_once_its_address_is_given() -> None:
    assert Settings.read({"SPOTCHECK_WEBHOOK_SECRET": "x"}).sinks == ()
    assert Settings.read({"SPOTCHECK_WEBHOOK_URL": "https://hooks.example.org"}).sinks == ("webhook",)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[sampling]\nrate = 1.5", "spotcheck.toml: sampling.rate is 1.5: Input should be less than or equal to 1"),
        ("[sampling]\nrate = -0.1", "spotcheck.toml: sampling.rate is -0.1: Input should be greater than or equal"),
        ("[sampling]\nrate = nan", "spotcheck.toml: sampling.rate is nan"),
        ("[sampling]\nrate = true", "sampling.rate is True: true and false are not allowed here"),
        ("[sampling]\nfloor_per_night = -1", "sampling.floor_per_night is -1: Input should be greater than or equal"),
        ("[sampling]\nfloor_per_night = 1.5", "sampling.floor_per_night is 1.5: Input should be a valid integer"),
        ("[sampling]\nrat = 0.1", "spotcheck.toml: sampling.rat is not a setting; did you mean rate?"),
        ("[samplng]\nrate = 1", "spotcheck.toml: samplng is not a setting; did you mean sampling?"),
        ("[sampling.task_types.faq]\nrat = 1", "sampling.task_types.faq.rat is not a setting; did you mean rate?"),
        ("[sampling.task_types]\nfaq = 1", "sampling.task_types.faq is 1: must be a table"),
        ("sampling = []", "spotcheck.toml: sampling is []: must be a table, like [sampling]"),
        ("judge = 1", "spotcheck.toml: judge is 1: must be a table, like [judge]"),
        ('[scoring]\nheuristics = "x"', 'scoring.heuristics is \'x\': must be a list, like ["a", "b"]'),
        ("[scoring]\nmax_attempts = 0", "scoring.max_attempts is 0"),
        ("[scoring.schemas]\nfaq = 1", "scoring.schemas.faq is 1: must be a table"),
        ('[judge.prices."m"]\ninput_usd_per_mtok = 1', "judge.prices.m.output_usd_per_mtok is missing"),
        ('[judge.prices."m"]\ninput_usd_per_mtk = 1', "did you mean input_usd_per_mtok?"),
        ('[judge]\nunknown_price = "alow"', "judge.unknown_price is 'alow': Input should be 'allow' or 'refuse'"),
        ("[judge]\nbudget_usd_per_day = -1", "judge.budget_usd_per_day is -1"),
        ("[judge.budgets.tone]\nusd_per_month = -1", "judge.budgets.tone.usd_per_month is -1"),
        ("[judge.budgets.tone]\nusd_a_day = 1", "did you mean usd_per_day?"),
        ("[judge.quota]\nrequests_per_minute = 0", "judge.quota.requests_per_minute is 0"),
        ("[judge.quota]\nrequest_per_minute = 9", "did you mean requests_per_minute?"),
        ('[judge.quota.models."m"]\ntokens_a_minute = 9', "did you mean tokens_per_minute?"),
        ('[schedule]\nat = "25:00"', "schedule.at is '25:00': not a time of day; write it like \"02:00\""),
        ('[schedule]\nat = "2am"', "schedule.at is '2am': not a time of day"),
        ("[schedule]\nat = 2", "schedule.at is 2: not a time of day"),
        ('[schedule]\ntime_zone = "Mars/X"', "schedule.time_zone is 'Mars/X': no such time zone; write it like"),
        ('[schedule]\ntime_zone = "../etc"', "schedule.time_zone is '../etc': no such time zone"),
        ("[alerts]\nfalse_alarms_per_year = 0", "alerts.false_alarms_per_year is 0: Input should be greater than 0"),
        ("[intake]\nmax_steps = 0", "intake.max_steps is 0"),
        ("rate = x", "spotcheck.toml cannot be read: Invalid value (at line 1, column 8)"),
        ("[a]\n[a]", "spotcheck.toml cannot be read: Cannot declare ('a',) twice (at line 2, column 3)"),
        ('database_url = "x"', "spotcheck.toml: database_url is an address or secret; set SPOTCHECK_DATABASE_URL"),
        ('openai_api_key = "x"', "spotcheck.toml: openai_api_key is an address or secret; set OPENAI_API_KEY"),
        ('[judge]\nopenai_api_key = "x"', "judge.openai_api_key is an address or secret; set it in the environment"),
    ],
)
def test_an_error_in_the_file_names_file_key_found_and_allowed(toml: str, said: str) -> None:
    assert said in complaint(toml)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (
            "SPOTCHECK_JUDGE_CONCURRENCY",
            "many",
            "env SPOTCHECK_JUDGE_CONCURRENCY is 'many': Input should be a valid int",
        ),
        ("SPOTCHECK_JUDGE_CONCURRENCY", "0", "env SPOTCHECK_JUDGE_CONCURRENCY is '0': Input should be greater than"),
        ("SPOTCHECK_SETTLE_S", "-1", "env SPOTCHECK_SETTLE_S is '-1'"),
        (
            "SPOTCHECK_BROKER_URL",
            "nonsense",
            "env SPOTCHECK_BROKER_URL is 'nonsense': not a broker; write redis://HOST",
        ),
        ("SPOTCHECK_BROKER_URL", "filesystem://", "not a broker"),
        ("SPOTCHECK_DATABASE_URL", "sqlite:///:memory:", "a database in memory would be gone after each command"),
    ],
)
def test_an_error_in_the_environment_names_the_variable(name: str, value: str, said: str) -> None:
    assert said in complaint(**{name: value})


def test_a_typo_is_told_before_what_follows_from_it() -> None:
    assert "did you mean false_alarms_per_year?" in complaint("[alerts]\nfalse_alarms_per_yer = 1\nrun_cost_usd = -1")


def test_a_variable_that_is_no_setting_is_named() -> None:
    said = list(unknown_variables({"SPOTCHECK_DATABSE_URL": "x", "SPOTCHECK_PROMPTS": "p", "HOME": "/"}))
    assert said == ["SPOTCHECK_DATABSE_URL is not a setting; did you mean SPOTCHECK_DATABASE_URL?"]


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENAI_API_KEY": SECRET},
        {"OPENAI_BASE_URL": f"http://me:{SECRET}@host/v1"},
        {"SPOTCHECK_BROKER_URL": f"redis://:{SECRET}@host/0"},
        {"SPOTCHECK_DATABASE_URL": f"postgresql://me:{SECRET}@host/db"},
        {"SPOTCHECK_DATABASE_URL": f"postgresql://me:a@b/{SECRET}@host/db"},
        {"SPOTCHECK_DATABASE_URL": f"postgresql://host/db?user=me&password={SECRET}"},
    ],
)
def test_a_secret_is_printed_nowhere(environ: dict[str, str]) -> None:
    read = Settings.read(environ)
    printed = [repr(value) for value in read.explain(environ)]
    if "OPENAI_BASE_URL" not in environ:  # an address; only its display hides a password
        printed += [repr(read), str(read), read.model_dump_json()]
    assert not [text for text in printed if SECRET in text]


@pytest.mark.parametrize("name", ["SPOTCHECK_BROKER_URL", "SPOTCHECK_DATABASE_URL"])
def test_a_secret_is_in_no_traceback_either(name: str) -> None:
    value = {"SPOTCHECK_BROKER_URL": f"foo://me:{SECRET}@host", "SPOTCHECK_DATABASE_URL": "sqlite://"}[name]
    try:
        Settings.read({name: value, "OPENAI_API_KEY": SECRET})
    except SettingsError as error:
        shown = "".join(traceback.format_exception(error))
    assert SECRET not in shown


def test_explain_says_where_each_value_comes_from() -> None:
    values = explained("[sampling]\nrate = 0.05\n[judge]\nmodel = 'f'\n", SPOTCHECK_JUDGE_MODEL="e")
    sources = {name: value.source for name, value in values.items()}
    assert sources["sampling.rate"] == "spotcheck.toml"
    assert sources["judge.model"] == "env SPOTCHECK_JUDGE_MODEL"
    assert sources["sampling.flagged_rate"] == "default"
    assert all(value.help for value in values.values())


def test_values_are_shown_as_the_file_would_write_them() -> None:
    toml = """
    [sampling.task_types.refund]
    rate = 0.2
    [judge.prices."m"]
    input_usd_per_mtok = 0.1
    output_usd_per_mtok = 0.5
    """
    shown = {name: value.value for name, value in explained(toml).items()}
    assert shown["scoring.rubrics"] == '["task_completion"]'
    assert shown["scoring.redact"] == "true"
    assert shown["schedule.at"] == "02:00"
    assert shown["judge.model"] == "(not set)"
    assert shown["sampling.task_types"] == '{"refund": {"rate": 0.2}}'
    assert shown["judge.prices"] == '{"m": {"input_usd_per_mtok": 0.1, "output_usd_per_mtok": 0.5}}'


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("sqlite:////data/spotcheck.db", "/data/spotcheck.broker"),
        ("sqlite:////data/other.sqlite", "/data/other.broker"),
        ("postgresql://host/db", str(Path("spotcheck.broker").resolve())),
    ],
)
def test_the_default_broker_is_a_folder_beside_the_database(url: str, folder: str) -> None:
    assert Settings.read({"SPOTCHECK_DATABASE_URL": url}).broker == f"filesystem://{folder}"


def test_a_task_type_takes_what_it_does_not_say_from_the_common_policy() -> None:
    sampling = Settings.read({}, "[sampling]\nrate = 0.1\n[sampling.task_types.faq]\nfloor_per_night = 0\n").sampling
    assert sampling.policy("faq", flagged=False) == (0.1, 0)
    assert sampling.policy("faq", flagged=True) == (0.25, 0)
    assert sampling.policy("refund", flagged=False) == (0.1, 3)


@pytest.mark.parametrize("written", ['"02:30"', '"2:30"', "02:30:00"])
def test_the_hour_of_the_night_may_be_text_or_a_time(written: str) -> None:
    assert Settings.read({}, f"[schedule]\nat = {written}\n").schedule.at == time(2, 30)


def test_a_budget_of_one_rubric_is_a_budget() -> None:
    def judge(toml: str) -> JudgeSection:
        return Settings.read({}, toml).judge

    assert not judge("[judge.budgets.tone]").has_budget
    own = judge("[judge.budgets.tone]\nusd_per_month = 3")
    assert (own.has_budget, own.is_capped("tone"), own.is_capped("other")) == (True, True, False)
    assert judge("[judge]\nbudget_usd_per_day = 1").is_capped("other")


def test_a_models_quota_takes_what_it_does_not_say_from_the_quota_of_all() -> None:
    def of(toml: str, model: str) -> ModelQuota | None:
        return Settings.read({}, toml).judge.quota.of(model)

    both = "[judge.quota]\nrequests_per_minute = 500\ntokens_per_minute = 9000\n"
    own = '[judge.quota.models."m"]\nrequests_per_minute = 60\n'
    assert of("", "m") is None
    assert of(both, "m") == ModelQuota(requests_per_minute=500, tokens_per_minute=9000)
    assert of(both + own, "m") == ModelQuota(requests_per_minute=60, tokens_per_minute=9000)
    assert of(own, "m") == ModelQuota(requests_per_minute=60)
    assert of(own, "other") is None


def test_a_judge_needs_a_model_and_a_key_or_an_address() -> None:
    assert not Settings.read({"OPENAI_API_KEY": "k"}).is_judge_configured
    assert not Settings.read({"SPOTCHECK_JUDGE_MODEL": "m"}).is_judge_configured
    assert Settings.read({"SPOTCHECK_JUDGE_MODEL": "m", "OPENAI_API_KEY": "k"}).is_judge_configured
    assert Settings.read({"SPOTCHECK_JUDGE_MODEL": "m", "OPENAI_BASE_URL": "http://x"}).is_judge_configured


def test_a_file_that_is_no_text_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spotcheck.toml").write_bytes(b"a = 1\n\xff\xfe")
    with pytest.raises(SettingsError, match=re.escape("spotcheck.toml cannot be read: not UTF-8 text at byte 6")):
        read_here({})


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_in_the_file_is_settings_or_one_settings_error(toml: str) -> None:
    with contextlib.suppress(SettingsError):
        Settings.read({}, toml)


@settings(deadline=None)
@given(st.text(alphabet="abc:@/?#", max_size=40), st.text(alphabet="xyz@:/", min_size=1, max_size=12))
def test_a_password_between_user_and_host_is_never_shown(host: str, password: str) -> None:
    shown = without_password(f"redis://me:{password}{SECRET}@{host}")
    assert SECRET not in shown
