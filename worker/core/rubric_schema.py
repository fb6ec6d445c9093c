"""The front matter of a rubric file: what may stand there, and where in the file it stands wrong."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast, get_args

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from worker.errors import RubricError
from worker.records import Backend, Record, RunStatus

SUFFIX = ".rubric.md.j2"
MAX_RUBRIC_CHARS = 64_000
MAX_CRITERIA = 12
Need = Literal["run.input", "run.output", "run.steps", "run.error"]
_ID = r"^[a-z][a-z0-9_]{0,39}$"
_KEEP = re.compile(r"^(errors|writes|quoted|(first|last):[1-9][0-9]?)$")
_RESERVED_PARAMS = frozenset(
    {
        "model",
        "messages",
        "input",
        "response_format",
        "text",
        "tools",
        "tool_choice",
        "stream",
        "n",
        "store",
        "metadata",
    }
    | {"max_tokens", "max_completion_tokens", "max_output_tokens", "extra_body", "extra_headers", "timeout", "user"}
)
_MARKERS = re.compile(r"^---[ \t]*$", re.MULTILINE)


class LintFinding(NamedTuple):
    """One thing that is wrong, or better changed, in a rubric file."""

    path: str
    line: int
    column: int
    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}  {self.message}"


def misnamed(name: str, path: str) -> LintFinding | None:
    """What is wrong with a rubric file's name, which must be `<name>.rubric.md.j2`; None when it is right."""
    file = path.replace("\\", "/").rpartition("/")[2]
    if not file.endswith(SUFFIX) or file == name + SUFFIX:
        return None
    return LintFinding(path, 2, 1, "schema", f"the rubric is named {name!r}, so its file must be {name + SUFFIX!r}")


class RubricProblem(RubricError):
    """A rubric file is wrong at a known place; `finding` says where."""

    def __init__(self, finding: LintFinding, others: int = 0) -> None:
        more = f" (and {others} more; see `spotcheck rubric lint`)" if others else ""
        super().__init__(f"{finding.path}:{finding.line}: {finding.message}{more}")
        self.finding = finding


class Level(Record):
    """One step of an ordinal scale."""

    label: str = Field(pattern=_ID)
    """What the judge answers."""
    when: str = Field(min_length=1, max_length=1000)
    """The anchor: what a run on this level looks like."""


class Criterion(Record):
    """One thing a rubric asks about."""

    id: str = Field(pattern=_ID)
    question: str = Field(min_length=1, max_length=1000)
    weight: float = Field(default=1.0, gt=0, le=1000)
    """Share in the aggregate, relative to the other criteria."""
    required: bool = False
    """Whether failing it fails the run, whatever the others say."""
    pass_when: str | None = Field(default=None, min_length=1, max_length=2000)
    """When the answer is pass; must be given on a binary scale."""
    levels: tuple[Level, ...] = ()
    """Ordinal scale only: 3 to 5 levels, worst first; their values are spread evenly over 0..1."""

    @property
    def options(self) -> dict[str, float]:
        """The verdicts a judge may give, with their values; `unknown` is not among them."""
        if not self.levels:
            return {"pass": 1.0, "fail": 0.0}
        return {level.label: place / (len(self.levels) - 1) for place, level in enumerate(self.levels)}


class AppliesTo(Record):
    """Which runs form the population; an empty list means all."""

    task_types: tuple[str, ...] = ()
    statuses: tuple[RunStatus, ...] = ("completed",)
    agents: tuple[str, ...] = ()


class Aggregate(Record):
    """How code, not the judge, makes one value of the criteria's."""

    method: Literal["weighted_mean"] = "weighted_mean"
    required_fail: Literal["fail"] = "fail"
    """A required criterion on its lowest verdict makes the aggregate 0."""
    unknown: Literal["exclude"] = "exclude"
    """A criterion the judge could not decide does not count, neither for nor against."""


class Passing(Record):
    """When the aggregate is called a pass."""

    threshold: float = Field(default=0.5, gt=0, le=1)
    on: Literal["p_pass", "value"] = "p_pass"
    """`p_pass` where the judge's server gives probabilities, the weighted mean everywhere else."""


Doubt = Literal["low_confidence", "failed_evidence", "unknown", "unreadable"]


class Escalate(Record):
    """When a second, better judge is asked; what it says counts where it can be read."""

    when: tuple[Doubt, ...] = ()
    """`low_confidence`: neither clearly a pass nor clearly a fail, where samples or the server's probabilities tell;
    `failed_evidence`: a quote does not occur in the run; `unknown`: a criterion is undecided; `unreadable`: the answer
    is cut, refused or not as asked."""
    to: str | None = Field(default=None, min_length=1)
    """The model to ask then, at the same address."""
    below: float = Field(default=0.8, gt=0.5, lt=1)
    """Confidence is low while the probability of a pass lies between 1 - below and below."""

    @model_validator(mode="after")
    def _whole(self) -> "Escalate":
        if self.to is not None and not self.when:
            raise ValueError(f"say `when`: a list of {', '.join(get_args(Doubt))}")
        if self.to is None and self.when:
            raise ValueError("say `to`: the model to ask then")
        return self


class RubricJudge(Record):
    """Which judge, and how it is asked."""

    backend: Backend = "chat"
    """`chat` is what every server speaks; `responses` and `decisions` are OpenAI's newer forms."""
    model: str | None = None
    """None: the setting `SPOTCHECK_JUDGE_MODEL` decides; a name here wins over it."""
    params: Mapping[str, Any] = Field(default_factory=dict)
    """Sampling parameters such as temperature; a server may refuse some."""
    max_output_tokens: int = Field(default=1200, ge=64, le=32_000)
    service_tier: Literal["auto", "default", "flex", "priority"] | None = None
    """How calls are bought; `flex` costs half and may take minutes, so give it a longer `judge.timeout_s`."""
    probabilities: bool = False
    """Ask how probable each verdict was (`p_pass`); makes answers many times larger. `decisions` tells it anyway."""
    repair: bool | None = None
    """Ask once more when an answer is not the agreed JSON and the server enforces none; twice the money is reserved
    for it. None: the setting `judge.repair` decides."""
    samples: int = Field(default=1, ge=1, le=20)
    """How often the same question is asked, where the server gives no probabilities; odd numbers leave no ties, and
    most of what more samples bring is there by 5. The temperature must not be 0."""
    escalate: Escalate | None = None

    @model_validator(mode="after")
    def _decisions_have_no_options(self) -> "RubricJudge":
        for name in ("service_tier", "repair"):
            if self.backend == "decisions" and getattr(self, name):
                raise ValueError(f"decisions know no `{name}`; leave it out, or take another backend")
        return self

    @field_validator("params")
    @classmethod
    def _only_sampling(cls, params: Mapping[str, Any]) -> Mapping[str, Any]:
        if taken := sorted(_RESERVED_PARAMS & set(params)):
            raise ValueError(
                f"{', '.join(taken)} cannot be set here; params are sampling parameters such as temperature"
            )
        return params

    @model_validator(mode="after")
    def _second_is_another(self) -> "RubricJudge":
        if self.escalate is not None and self.escalate.to is not None and self.escalate.to == self.model:
            raise ValueError(f"`escalate.to` is {self.model!r}, the model that is asked first")
        return self


class Trace(Record):
    """How much of the run the judge sees."""

    budget_tokens: int = Field(default=6000, ge=500, le=60_000)
    keep: tuple[str, ...] = ("errors", "writes", "quoted", "first:1", "last:3")
    """Steps that keep more detail: errors, writes, quoted, first:N, last:N."""

    @field_validator("keep")
    @classmethod
    def _known(cls, keep: tuple[str, ...]) -> tuple[str, ...]:
        for word in keep:
            if not _KEEP.match(word):
                raise ValueError(f"{word!r} is not one of errors, writes, quoted, first:N, last:N")
        return keep


class Examples(Record):
    """Labelled runs shown to the judge (accepted; not yet used)."""

    file: str
    split: Literal["train"] = "train"
    max: int = Field(default=4, ge=1, le=20)


class PromotionBar(Record):
    """What a version must reach before it is promoted (accepted; not yet used)."""

    min_kappa: float | None = Field(default=None, ge=-1, le=1)
    max_asr: float | None = Field(default=None, ge=0, le=1)
    """Attack success rate on the canaries, 0..1."""
    min_labels: int | None = Field(default=None, ge=1)


class FrontMatter(Record):
    """Everything between the two `---` lines."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,59}$")
    version: str = Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?$")
    """Semantic version; trends start a new series with each."""
    description: str = ""
    owner: str = ""
    applies_to: AppliesTo = AppliesTo()
    needs: tuple[Need, ...] = ("run.input", "run.output")
    """A run without one of these is unscored(missing:…), and no call is made."""
    scale: Literal["binary", "ordinal"] = "binary"
    mode: Literal["joint", "per_criterion"] = "joint"
    """One call for all criteria, or one call for each."""
    criteria: tuple[Criterion, ...] = Field(min_length=1, max_length=MAX_CRITERIA)
    aggregate: Aggregate = Aggregate()
    passing: Passing = Field(default=Passing(), alias="pass")
    judge: RubricJudge = RubricJudge()
    trace: Trace = Trace()
    examples: Examples | None = None
    tests: PromotionBar | None = None

    @model_validator(mode="after")
    def _criteria_fit_the_scale(self) -> "FrontMatter":
        ids = [criterion.id for criterion in self.criteria]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"criterion {twice[0]!r} stands twice; ids must differ")
        for criterion in self.criteria:
            labels = {level.label for level in criterion.levels}
            if self.scale == "binary" and criterion.levels:
                raise ValueError(
                    f"criterion {criterion.id!r} has levels, but the scale is binary; write `scale: ordinal`"
                )
            if self.scale == "binary" and criterion.pass_when is None:
                raise ValueError(f"criterion {criterion.id!r} does not say `pass_when`")
            if self.scale == "ordinal" and not 3 <= len(criterion.levels) <= 5:
                raise ValueError(
                    f"criterion {criterion.id!r} needs 3 to 5 `levels`, each anchored by a `when`; it has {len(labels)}"
                )
            if len(labels) != len(criterion.levels) or "unknown" in labels:
                raise ValueError(f"the labels of criterion {criterion.id!r} must differ, and `unknown` is taken")
        return self


class _Loader(yaml.SafeLoader):
    """YAML without aliases, without doubled keys, and with `on`, `off`, `yes` and `no` as plain words."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(
                None,
                None,
                "aliases (`*name`) are not allowed",
                self.peek_event().start_mark,  # type: ignore[no-untyped-call]  # untyped in types-PyYAML
            )
        node: yaml.Node | None = super().compose_node(parent, index)
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, _ in node.value:
                if isinstance(key.value, str) and key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"{key.value!r} stands twice", key.start_mark)
                seen.add(str(key.value))
        return node


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern) for tag, pattern in found if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
    ]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false|True|False)$"), list("tTfF"))


def canonical(text: str) -> str:
    r"""The form in which a file is hashed and rendered: no BOM, `\n` only, no trailing blanks, one newline at the end.

    Example:
        >>> canonical("a  \r\nb\n\n")
        'a\nb\n'
    """
    folded = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip() for line in folded.split("\n")).rstrip("\n") + "\n"


def split(text: str, path: str) -> tuple[str, str]:
    """Front matter and body of a canonical rubric file; the body keeps its line numbers by leading empty lines.

    Raises:
        RubricProblem: Too large, or no front matter.
    """
    if len(text) > MAX_RUBRIC_CHARS:
        message = f"the file has {len(text):,} characters; a rubric may have {MAX_RUBRIC_CHARS:,}"
        raise RubricProblem(LintFinding(path, 1, 1, "schema", message))
    fences = list(_MARKERS.finditer(text))
    if len(fences) < 2 or fences[0].start() != 0:
        raise RubricProblem(
            LintFinding(path, 1, 1, "schema", "the file must begin with front matter between two lines of `---`")
        )
    body_at = fences[1].end()
    return text[fences[0].end() : fences[1].start()], "\n" * text.count("\n", 0, body_at) + text[body_at:]


def check_front(front: str, path: str) -> tuple[FrontMatter | None, list[LintFinding]]:
    """Validate front matter as `split` gives it.

    Returns:
        The front matter (None when it is wrong), and every finding, in the order of the file.
    """
    try:
        loader = _Loader(front)
        root = loader.get_single_node()
        data = None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [
            LintFinding(path, line, column, "schema", f"not YAML: {getattr(error, 'problem', None) or error}")
        ]
    except (ValueError, RecursionError) as error:
        return None, [LintFinding(path, 1, 1, "schema", f"not YAML: {error}")]
    if not isinstance(data, dict):
        return None, [LintFinding(path, 1, 1, "schema", "the front matter must be a mapping of keys to values")]
    try:
        return FrontMatter.model_validate(data), []
    except ValidationError as error:
        findings = [_finding(path, root, list(problem["loc"]), problem) for problem in _telling(error)]
        return None, sorted(findings, key=lambda finding: (finding.line, finding.column))


def _telling(error: ValidationError) -> Iterator[Mapping[str, Any]]:
    """The errors worth saying, without those that only follow from another one."""
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    wrong_keys = [str(problem["loc"][-1]) for problem in problems if problem["type"] == "extra_forbidden"]
    for problem in problems:
        loc = problem["loc"]
        follows = loc and any(len(place) > len(loc) and place[: len(loc)] == loc for place in places)
        mistyped = problem["type"] == "missing" and difflib.get_close_matches(str(loc[-1]), wrong_keys, n=1)
        if not follows and not mistyped:
            yield cast("Mapping[str, Any]", problem)


def _finding(path: str, root: yaml.Node | None, loc: list[int | str], problem: Mapping[str, Any]) -> LintFinding:
    said = str(problem["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in loc)
    code = "schema"
    if "stands twice" in said:
        code = "duplicate-criterion"
    if "`levels`" in said:
        code = "missing-anchors"
    if not loc:  # a validator over the whole: point at the criterion it names
        line, column = _criterion_place(root, said)
        return LintFinding(path, line, column, code, said)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1)
        hint = f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(known)}"
        said = f"`{where}` is not a key of a rubric{hint}"
    elif problem["type"] == "missing":
        said = f"`{where}` is missing"
    else:
        said = f"`{where}`: {said[:1].lower()}{said[1:]}; found {problem.get('input')!r:.80}"
    line, column = _place(root, loc)
    return LintFinding(path, line, column, code, said)


def _place(root: yaml.Node | None, loc: Sequence[int | str]) -> tuple[int, int]:
    """Line and column of the deepest node of `loc` that exists; the key's place for a mapping's entry."""
    node, place = root, (1, 1)
    for part in loc:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                break
            place, node = (found[0].start_mark.line + 1, found[0].start_mark.column + 1), found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            place = (node.start_mark.line + 1, node.start_mark.column + 1)
        else:
            break
    return place


def criterion_place(front: str, criterion_id: str, key: str = "question") -> tuple[int, int]:
    """Where a key of a criterion stands in valid front matter: (line, column); (1, 1) when it does not."""
    root = yaml.compose(front, Loader=_Loader)
    for place, found in enumerate(_criterion_ids(root)):
        if found == criterion_id:
            return _place(root, ["criteria", place, key])
    return 1, 1


def _criterion_ids(root: yaml.Node | None) -> Iterator[str]:
    entries = root.value if isinstance(root, yaml.MappingNode) else []
    criteria = next((value for key, value in entries if key.value == "criteria"), None)
    for node in criteria.value if isinstance(criteria, yaml.SequenceNode) else []:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        yield next((str(value.value) for key, value in pairs if key.value == "id"), "")


def _criterion_place(root: yaml.Node | None, said: str) -> tuple[int, int]:
    named = re.search(r"criterion '([^']*)'", said)
    ids = list(_criterion_ids(root))
    if named and named[1] in ids:
        last = len(ids) - 1 - ids[::-1].index(named[1])
        return _place(root, ["criteria", last])
    return _place(root, ["criteria"])


def _keys_at(loc: Sequence[int | str]) -> list[str]:
    """The keys allowed at a place of the front matter."""
    model: type[BaseModel] = FrontMatter
    for part in loc:
        field = next((info for name, info in model.model_fields.items() if (info.alias or name) == part), None)
        if field is None:
            continue
        kinds = [field.annotation, *get_args(field.annotation)]
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return [info.alias or name for name, info in model.model_fields.items()]
