"""How a text begins or ends that only reports a failure: of programs, shells, HTTP, frameworks and their wrappers."""

import re
from collections.abc import Sequence

HEAD = 400
"""Characters of a text that its beginning is looked for in."""
TAIL = 2_000
_SEARCHED = 65_536
_LINE = 300
"""Characters of a line that may be a message."""

NOTHING = r"""(?! \s* (?: none|null|nil|nan|false|n/a|okay|ok|success(?:ful)?|0+(?:x0+)?|""|''|\{\}|\[\]|-+
      | none \s found | no \s (?:errors?|problems?|issues?) (?:\s(?:was|were))?
        (?:\s(?:found|detected|occurred|reported|raised))?
      | 0 \s (?:of|out\sof|errors?|problems?|issues?)\b [^\n]{0,80} ) [\s.,;!]* (?:\n|$)
    | [ \t.,;!]* (?: \s* $ | \n \s* [\w-]{1,30} \s? : ) )"""
"""What follows `error:` where there was none: a word for nothing, or the next field."""
_NO_FIGURE = r"(?! \s* [-+]? [\d.]+ \s* (?:\n|$) )"
"""Of a measurement: `validation error: 0.034`."""
_STOPS = r"(?: \s? [:.!] | \s (?:with|because|due|to|after)\b | \s* $ )"

_REASON = r"""(?: client\serror|server\serror|internal\s(?:server\s)?error|service\sunavailable|bad\s(?:request|gateway)
    | too\smany|not\s(?:found|allowed|acceptable|implemented)|unauthori[sz]ed|forbidden|gateway\stime|request\stime
    | gone\b|conflict|payment\srequired|unprocessable|method\snot )"""
"""What HTTP says beside a number of a failure."""
_STATUS = r"[45]\d\d \b (?= [\])}'\"]? \s* (?: $ | [\n:;,.([{<] | [-–—]\s | error\b | " + _REASON + " ) )"
"""The number of a failure, where it is not explained: `404 means that`."""

_OF_WHAT = r"""(?: api|argument|auth(?:entication|orization)?|bash|build|client|code|command|compil(?:e|er|ation)
    | connection|critical|database|db|decoding|dns|encoding|evaluation|execution|fatal|file|function|gateway|http
    | import|input|internal|interpreter|i/?o|javascript|json|key|mcp|network|operation|parameter|pars(?:e|er|ing)
    | permission|plugin|protocol|proxy|python|query|quota|rate\s?limit|remote|request|rpc|runtime|schema|script
    | serialization|server|service|shell|socket|sql|ssl|syntax|system|timeout|tls|tool|transaction|type|unexpected
    | unhandled|unknown|upstream|user|validation|value|application )"""
"""Before `error:`. Of measurements there are others: standard, mean squared, rounding."""

_VERB = r"""(?: access|authenticat|complet|connect|contact|creat|decod|delet|download|establish|execut|fetch|import
    | invok|load|navigat|open|pars|perform|process|query|reach|read|resolv|retriev|run|send|start|stat|updat|upload
    | validat|writ )"""

_WHOLE = r"""(?: too\smany\srequests|unauthori[sz]ed|forbidden|internal\s(?:server\s)?error|bad\s(?:gateway|request)
    | service\s(?:temporarily\s)?unavailable|(?:gateway|request)\stime-?\s?out|(?:permission|access)\sdenied
    | (?:unknown|unexpected|network|server)\serror|not\sauthori[sz]ed|not\sauthenticated|method\snot\sallowed
    | connection\s(?:error|refused|reset|timed\sout|failed|aborted|closed)|authentication\s(?:failed|required)
    | (?:rate\slimit|quota)\s(?:exceeded|reached)|operation\snot\spermitted|invalid\srequest|bad\scredentials
    | (?:invalid|missing|expired|incorrect|wrong)\s
      (?:api[\s_-]?key|(?:access\s|auth(?:entication)?\s)?token|credentials)
    | no\ssuch\sfile\sor\sdirectory|command\snot\sfound|segmentation\sfault(?:\s\(core\sdumped\))?
    | (?:fetch|network\srequest|certificate\sverify)\sfailed|socket\shang\sup|host\snot\sfound|no\sroute\sto\shost
    | (?:context\s)?deadline\sexceeded|insufficient\s(?:permissions?|privileges|scopes?)
    | you\s(?:do\snot|don't)\shave\s(?:permission|access)[^\n.]{0,80}|access\sto\s[^\n.]{1,80}\sis\sdenied
    | something\swent\swrong|timed?[\s-]?out )"""
"""Failures that need no `error` before them; alone, or before a full stop or a colon."""

_ERRORS: Sequence[str] = (
    r"(?:error|fatal|err) (?:\*\*)? \s? :" + NOTHING,
    r"error (?: ! | [.!]? \s* $ | \s [-–—] \s | \s* \n (?!\s*[-+.\d]) )",
    r"error \s? (?: \([^)\n]{1,60}\) | \[[^\]\n]{1,60}\] | \d{1,5} (?:\s\([^)\n]{1,20}\))? ) \s? (?: : | \n | $ )",
    r"error \s? code \s? (?: [:=] \s? (?!0+(?:x0+)?\b) [-\w] | \s -?(?!0+\b)\d{3,6} \s? (?: [-:,.(] | $ ) )",
    r"error \s (?: (?:" + _VERB + r"|brows|call|get|handling\srequest|making|search|inserting|finding) \w{0,4}"
    r"   | while|occurred|posting|[45]\d\d ) \b (?! \s? \d* \s? (?:times|of)\b )",
    r"error \s (?:in|during|from|on|at|with) \s (?!\d) [^\n]{1,160}? :" + _NO_FIGURE,
    r"error \s response \s from \b",
    r"[\[<(] (?:\w{1,20}[\s_-]){0,2} (?:error|fatal|exception) [\]>)]",
    r"(?:" + _OF_WHAT + r" \s){1,3} error \s? :" + _NO_FIGURE + NOTHING,
    r"(?:" + _OF_WHAT + r" \s){1,3} error \s (?:near|at|in|on) \s [^\n]{1,100}? :" + _NO_FIGURE,
    r"(?:mcp|rpc|api|http|network|internal\sserver|server|connection|timeout)"
    r"   \s error \b (?= \s* (?: [-:] | \(?-?\d{3,6}\)? (?:[\s:,.]|$) | $ ) )",
    r"an? \s (?:" + _OF_WHAT + r" \s){0,2} (?:error|exception) \s (?:has\s|was\s)?"
    r"   (?:occurred|encountered|raised|thrown) \b (?! \s (?: \d | in\s\d | once|twice|several\s|many\s ) )",
    r"there \s was \s an? \s (?:\w{1,20}\s)? (?:error|exception) \b",
)
_EXCEPTIONS: Sequence[str] = (
    r"traceback \s \(most\srecent\scall\slast\)",
    r"(?:\w{1,40}\.){0,6} (?:errors?|exceptions?) \. \w{1,60} : \s",
    r"keyerror: \s \S",
    r"\[ (?:errno|winerror) \s -?\d{1,6} \]",
    r"uncaught \s (?: exception | \(in\spromise\) | \w{0,60}(?:error|exception) ) \b",
    r"unhandled \s (?:promise\s)? (?:exception|rejection) \b",
    r"exception \s in \s thread \s",
    r"panic: \s | thread \s ['<] [^\n]{1,80} \s panicked \s at",
    r"\d{1,4} \s validation \s errors? \s for \s \w",
    r"file \s \"[^\"\n]{1,200}\", \s line \s \d",
    # what Python's own exceptions say, where a tool gives back `str` of one
    r"'\w{1,40}' \s object \s (?: has\sno\sattribute | is\snot\s\w | does\snot\ssupport )",
    r"module \s '[\w.]{1,80}' \s has \s no \s attribute",
    r"(?:list|tuple|string|index) \s (?:index\s)? out \s of \s range \s* $",
    r"(?:(?:integer|float)\s)? (?:division|modulo) (?:\sor\smodulo)? \s by \s zero \s* $",
    r"name \s '\w{1,80}' \s is \s not \s defined",
    r"(?:invalid\ssyntax|unexpected\s(?:eof|indent)|unterminated\sstring|unmatched\s'.')"
    r"   [^\n]{0,80} \( < [^\n]{1,40} line \s",
    r"unsupported \s operand \s type | invalid \s literal \s for \s \w | could \s not \s convert \s string \s to",
    r"(?:string|list|tuple) \s indices \s must \s be | unhashable \s type | maximum \s recursion \s depth \s exceeded",
    r"[\w.<>]{1,80}\(\) \s (?: missing\s\d | got\san\sunexpected | takes\s(?:\d|from|no) )",
    r"expecting \s (?:value|property\sname|','\sdelimiter|':'\sdelimiter) [^\n]{0,60} : \s line \s \d",
)
_CLASSES: Sequence[str] = (
    r": \s (?i:" + NOTHING + r") (?! [Rr]aised\s(?:when|if|by)\b )",
    r"\( ['\"]",
    r"\s* $",
)
"""What follows the name of a class of errors, in its own capitals: `Terror: a history` is none."""
_COMMANDS: Sequence[str] = (
    r"[\[(<]? (?:(?:command|process|script)\s)? exit (?:ed)? [\s_-]? (?:with\s)? (?:exit\s)? (?:code|status)"
    r"   \s? [:=]? \s? -?[1-9]\d{0,4} (?= [\])>.:,;]* \s* (?:\n|$) | \s? [(:;,] )",
    r"(?:command|process|script|program|execution|subprocess|shell) \b [^\n]{0,150}?"
    r"   \b (?:failed|exited|returned|terminated|finished|completed) \b [^\n]{0,40}?"
    r"   \b (?:code|status|signal) \s? [:=]? \s? -?[1-9]\d{0,4} \b",
    r"(?:[\w./-]{0,40}/)? (?:ba|da|z|k|fi|c|tc)?sh (?:\.exe)? : \s [^\n]{0,200}?"
    r"   (?: not\sfound | no\ssuch\sfile | permission\sdenied | syntax\serror | is\sa\sdirectory | cannot\sexecute"
    r"     | unexpected | bad\ssubstitution )",
    r"[\w./+-]{1,40} : \s (?:[^\n]{0,200}? : \s)?"
    r"   (?: no\ssuch\sfile\sor\sdirectory | permission\sdenied | command\snot\sfound | is\sa\sdirectory"
    r"     | not\sa\sdirectory | connection\srefused | operation\snot\spermitted ) \s* (?:\n|$)",
    r"[a-z./][a-z0-9./_+-]{0,39} : \s (?:[^\n]{0,100}? : \s)?"
    r"   (?: (?:fatal\s)?error (?: : | \s(?:response|while) ) | invalid\soption | missing\soperand"
    r"     | un(?:recognized|known)\s(?:option|argument)"
    r"     | (?:cannot|can't|could\snot|unable\sto) \s (?: access|change|connect|copy|create|execute|find|move|open"
    r"         |overwrite|read|remove|resolve|stat|touch|write ) \b )",
    r"[^\s:()]{1,100} (?: \(\d{1,6},\d{1,6}\) | (?::\d{1,6}){1,2} ) : \s (?:fatal\s)? error"
    r"   (?: \s? : | \s [a-z]{1,4}\d{3,6} \b )",
    r"['\"]? [\w./\\-]{1,80} ['\"]? \s (?: : \s [^\n]{1,100}? )? is \s not \s recognized \s as"
    r"   \s (?:an\sinternal|the\sname)",
    r"curl: \s \(\d{1,3}\) | npm \s (?:err!|error) \s | e: \s (?:unable|could\snot|failed|package)",
    r"make (?:\[\d{1,3}\])? : \s \*\*\*",
)
_NETWORK: Sequence[str] = (
    r"net::err_\w",
    r"(?:(?:connect|getaddrinfo|read|write|socket)\s)?"
    r"   e(?:acces|addrinuse|ai_again|conn[a-z]{2,10}|exist|hostunreach|isdir|mfile|noent|notdir|notempty|notfound"
    r"     |perm|pipe|timedout) (?: : | \s\d | \s[a-z0-9.-]{1,80}(?::\d{1,5})? \s* (?:\n|$) | \b\s*(?:\n|$) )",
    r"(?:[\w.]{1,40} \s? : \s)? timeout \s (?: (?:of|after) \s \d | \d{1,9} \s? m?s \s exceeded )",
    r"timed \s out \s (?:after|waiting|while) \b",
    r"(?: http (?:/\d (?:\.\d)?)? (?:\s (?:error|status(?:\scode)?))? | (?:status|response) \s code ) :? \s " + _STATUS,
    r"(?:status\s?:\s?)? (?:4(?:0[0134589]|10|22|29)|50[0-4]) \s? [:-]? \s " + _REASON + r"\b",
    r"(?:client|server) \s error \s ['\"‘] [45]\d\d",
    r"404 \s page \s not \s found",
    r"(?:the\s)? (?:api|endpoint|request|server|service|upstream|url) \s (?:returned|responded\swith|failed\swith) \s"
    r"   (?:an?\s)? (?:http\s)? (?:error\s)? (?:status\s)? (?:code\s)? :? \s? " + _STATUS,
    r"https?connectionpool\( | \( ['\"] connection\saborted",
    r"upstream \s (?:connect|request) \s (?:error|time) | no \s healthy \s upstream",
    r"(?: <!doctype[^>\n]{0,100}> \s* )? (?: <html[^>\n]{0,100}> \s* )? (?: <head> \s* )? <title> \s*"
    r"   (?: [45]\d\d \s " + _REASON + r" | error\b | " + _WHOLE + " )",
)
_TOOLS: Sequence[str] = (
    r"status \s? : \s? (?:error|failed|failure) \s* \n \s* (?:message|error|detail|reason) \s? :",
    r"(?:(?:api|database|file|http|login|mcp|network|search|sql|web)\s)?"
    r"   (?: action|auth(?:entication|orization)?|call|connection|download|evaluation|execution|fetch|import|insert"
    r"     |login|lookup|operation|parsing|query|request|search|transaction|update|upload|validation ) \s failed"
    r"   (?: \s? : (?!\s*\d{1,2}\b) | \s (?: with\s(?:status|code|http|error) | because | due\sto | after ) \b )",
    r"(?:mcp\s)? (?:tool|command|function) (?:\s(?:execution|call|use|invocation))? \s failed \b" + _STOPS,
    r"tool \s ['\"`]? [\w.-]{1,80} ['\"`]? \s (?: failed"
    + _STOPS
    + r""" | not\sfound\b | does\snot\sexist\b
        | is\snot\savailable\b )""",
    r"(?:unknown|invalid|no\ssuch|unsupported) \s (?:action|command|function|method|operation) \s? (?: : | ['\"`] )",
    r"(?:unknown|invalid|no\ssuch) \s tool (?: \s? : | \s ['\"`] | \s (?:name|call)\b | [.!]? \s* $ )",
    r"[\w.-]{1,80} \s is \s not \s a \s valid \s tool \b",
    r"tool \s result \s missing \s due \s to",
    r"invalid \s (?:arguments?|input|params?|parameters?) (?: \s? : | \s for \s (?:tool|function)\b )",
    r"(?:invalid|malformed) \s json\b (?= \s* (?: $ | [\n:.,(] | (?:in|at|input|response|payload|body)\b ) )",
    r"missing \s (?:\d{1,3}\s)? required \s (?:positional\s)? (?:argument|field|input|key|param|property)",
    r"(?:the\s)? (?:request|connection|operation|tool|tool\scall|command) \s (?:has\s|was\s)?"
    r"   (?: timed\sout | refused | reset\sby\speer ) (?= \s* (?: $ | [\n.,:;!(]"
    r"     | (?:after|while|waiting|due|because|on)\b | by\s(?:the\s)?(?:server|peer|host|remote) ) )",
    r"failed \s to \s [a-z]{2,20} \b",
    r"(?: could\snot|couldn't|can\s?not|can't|unable\sto|was\snot\sable\sto ) \s"
    r"   (?: " + _VERB + r" \w{0,2} \b | find\smodule )",
    r"no \s module \s named \b",
    _WHOLE + r"(?! \s? : \s? \d ) (?: [.!]* \s* $ | \s? : \s | [.!] \s | \s [-–—] \s )",
)

_BEFORE = re.compile(
    r"(?: \x1b\[[\d;]{0,9}m | [\s*\#>`❌⚠️✗✘] ){0,40}"
    r"(?: (?:observation|output|response|result|stderr|tool(?:\s(?:output|result))?) \s?"
    r"   (?: : | \n ) [\s*\#>⚠️✗✘]{0,10} )?"
    r"(?: (?:sorry|oops|whoops|uh-?\s?oh) [,!.:]? \s )?",
    re.VERBOSE,
)
_BEGINS = re.compile("|".join((*_ERRORS, *_EXCEPTIONS, *_COMMANDS, *_NETWORK, *_TOOLS)), re.VERBOSE)
"""Of a text in small letters, behind `_BEFORE`: without regard to case it would take three times as long."""
_CLASS_BEGINS = re.compile(
    rf"(?: (?:\w{{1,40}}\.){{0,8}} \w{{0,60}} (?:Error|Exception) (?: {'|'.join(_CLASSES)} )"
    r"   | (?:\w{1,40}\.){1,8} \w{0,60} (?:Error|Exception) \s* \n | < \w{0,60} (?:Error|Exception) \b )",
    re.VERBOSE,
)

_NOT_THERE = re.compile(
    r"""(?: (?:the\s)? (?:[\w'-]{1,40}\s){0,4} (?:was\s)? (?:not\sfound|does\snot\sexist)
          | could\snot\svalidate\scredentials | (?:authentication\s)?credentials\swere\snot\sprovided
          | missing\sauthentication\stoken | requires\sauthentication | (?:endpoint\s)?request\s(?:was\s)?throttled.*
          | endpoint\srequest\stimed\sout ) [\s.!]*""",
    re.IGNORECASE | re.VERBOSE,
)
"""What a server says in the one text of an error's object; as a whole result it may be the answer."""

_EXIT_LINE = re.compile(
    r"""[\[(<]? (?:(?:the\s)?(?:command|process|script)\s)?
        (?: (?:(?:has\s)?(?:completed|finished|exited|failed|terminated)\s)? (?:with\s)?
            (?:exit|return) [\s_-]? (?:code|status)
          | exited\s(?:with\s)?(?:code|status) )
        \s? [:=]? \s? -?[1-9]\d{0,4} \.? [\])>]?""",
    re.IGNORECASE | re.VERBOSE,
)
"""The line that tools for commands put below what a command wrote."""

_CRASH = re.compile(r"(?:\w{1,40}\.){0,6}\w{0,60}(?:Error|Exception|Interrupt|Exit)(?::|$)")
"""The last line of a Python traceback."""

_IPYTHON = re.compile(
    r"^(?:-{20,80}\n\w{1,60}[ \t]{1,80}Traceback \(most recent call last\)"
    r"|[ \t]{0,4}Cell In ?\[\d{1,6}\], line \d{1,6}$)",
    re.MULTILINE,
)
"""How IPython begins a traceback, which may stand between other output."""


def begins(text: str) -> bool:
    """Whether a text begins as one does that only reports a failure.

    Example:
        >>> begins("Error: no such order"), begins("bash: foo: command not found"), begins("Access denied.")
        (True, True, True)
        >>> begins("Error: None"), begins("Error rate: 0.3 %"), begins("HTTP 404 means that a page is not there")
        (False, False, False)
    """
    head = text[:HEAD]
    small = head.lower()
    before = _BEFORE.match(small)
    start = before.end() if before else 0
    return (
        _BEGINS.match(small, start) is not None
        or _CLASS_BEGINS.match(head, start) is not None
        or (small[:1] == "❌" and len(small) <= _LINE and "\n" not in small.strip())
    )


def reports(text: str) -> bool:
    """The same of the one text in an object of an error, which may say less: not found, credentials not provided."""
    return begins(text) or _NOT_THERE.fullmatch(text[:HEAD]) is not None


def ending(text: str) -> str | None:
    """What tells of a failure below or between other output: an exit code, or a traceback; None without either."""
    head = text[:_SEARCHED]
    if ("Traceback (most" in head or "Cell In" in head) and (found := _IPYTHON.search(head)):
        return text[found.start() :]
    lines = text[-TAIL:].rstrip().splitlines()
    if not lines:
        return None
    last = lines[-1].strip()
    if len(last) <= _LINE and _EXIT_LINE.fullmatch(last):
        return last
    if not _CRASH.match(lines[-1]) or "Traceback (most recent call last)" not in text:
        return None
    return lines[-1]
