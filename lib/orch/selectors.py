r"""Label and field selectors: Kubernetes' grammar, rules and error texts (apimachinery's pkg/labels and pkg/fields).

<label selector> ::= <requirement> { "," <requirement> }
<requirement>    ::= KEY | "!" KEY | KEY ("=" | "==" | "!=" | ">" | "<") VALUE | KEY ("in" | "notin") "(" VALUES ")"
<field selector> ::= PATH ("=" | "==" | "!=") VALUE { "," … }     where a backslash protects \ , =
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final, Literal, Protocol

import msgspec

Operator = Literal["=", "==", "!=", "in", "notin", "exists", "!", "gt", "lt"]
FieldOperator = Literal["=", "!="]


class ExpressionLike(Protocol):
    """An expression of a metav1.LabelSelector."""

    @property
    def key(self) -> str:
        """The label."""
        ...

    @property
    def operator(self) -> str:
        """In, NotIn, Exists or DoesNotExist."""
        ...

    @property
    def values(self) -> Sequence[str]:
        """The operator's values."""
        ...


class LabelSelectorLike(Protocol):
    """A metav1.LabelSelector, read through whichever view."""

    @property
    def match_labels(self) -> Mapping[str, str]:
        """Labels that must have these values."""
        ...

    @property
    def match_expressions(self) -> Sequence[ExpressionLike]:
        """Expressions that must hold as well."""
        ...


class Requirement(msgspec.Struct, frozen=True):
    """One requirement on one label."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether the labels meet it. Not having the label meets `!=`, `notin` and `!`."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "gt" | "lt":
                return self._compare(value)

    def _compare(self, value: str | None) -> bool:
        number = _integer(value) if value is not None else None
        bound = _integer(self.values[0])
        if number is None or bound is None:
            return False
        return number > bound if self.operator == "gt" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
            case _:
                return f"{self.key}{_SYMBOLS.get(self.operator, self.operator)}{self.values[0]}"


class Selector(msgspec.Struct, frozen=True):
    """Requirements that must all be met, ordered by key; with none of them, everything is selected.

    `nothing` selects no object at all, as the absent selector of a workload does.
    """

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @property
    def everything(self) -> bool:
        """Whether there is nothing to be met."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Return whether an object with these labels is selected."""
        if self.nothing:
            return False
        for requirement in self.requirements:  # noqa: SIM110 - a generator would cost more than the comparisons
            if not requirement.matches(labels):
                return False
        return True

    def exact(self, key: str) -> str | None:
        """Return the one value that the label `key` must have; None when the selector does not ask for one."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator in {"=", "==", "in"} and len(requirement.values) == 1:
                return requirement.values[0]
        return None

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(nothing=True)


@lru_cache(maxsize=4096)
def parse_label_selector(text: str) -> Selector:
    """Return the selector that `text` writes. Raises ValueError with Kubernetes' wording."""
    return _of(_Parser(text).parse())


def from_label_selector(selector: LabelSelectorLike | None) -> Selector:
    """Return the selector of a metav1.LabelSelector; an absent one selects nothing, an empty one everything.

    Raises ValueError with Kubernetes' wording.
    """
    if selector is None:
        return NOTHING
    return _of(
        [_requirement(key, "=", (value,)) for key, value in selector.match_labels.items()]
        + [_from_expression(expression) for expression in selector.match_expressions]
    )


def from_labels(labels: Mapping[str, str]) -> Selector:
    """Return the selector of objects that have all of these labels (a Service's or nodeSelector's form)."""
    return _of(Requirement(key, "=", (value,)) for key, value in labels.items())


def parse_field_selector(text: str) -> tuple[tuple[str, FieldOperator, str], ...]:
    """Return (path, operator, value) of each term. Raises ValueError with Kubernetes' wording."""
    terms: list[tuple[str, FieldOperator, str]] = []
    for term in _FIELD_TERMS.findall(text):
        match = _FIELD_TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        path, operator, value = match.groups()
        if path or value:
            terms.append((path, "!=" if operator == "!=" else "=", _unescape(value)))
    return tuple(terms)


def label_key_problems(key: str) -> list[str]:
    """Return what is wrong with a label's or annotation's key (IsQualifiedName)."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        return [f"a qualified name {_QUALIFIED_RULE} with an optional DNS subdomain prefix and '/' {_QUALIFIED_HINT}"]
    problems: list[str] = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {problem}" for problem in _subdomain_problems(prefix)]
    if not name:
        problems.append("name part must be non-empty")
    elif len(name) > 63:
        problems.append("name part must be no more than 63 characters")
    if not _NAME.fullmatch(name):
        problems.append(f"name part {_QUALIFIED_RULE}")
    return problems


def label_value_problems(value: str) -> list[str]:
    """Return what is wrong with a label's value (IsValidLabelValue)."""
    problems = ["must be no more than 63 characters"] if len(value) > 63 else []
    return problems if not value or _NAME.fullmatch(value) else [*problems, _VALUE_RULE]


_SYMBOLS: Final[Mapping[str, str]] = {"gt": ">", "lt": "<"}
_OPERATORS: Final[Mapping[str, Operator]] = {
    "=": "=",
    "==": "==",
    "!=": "!=",
    "in": "in",
    "notin": "notin",
    ">": "gt",
    "<": "lt",
}
_EXPRESSIONS: Final[Mapping[str, Operator]] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_TOKEN: Final = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+|$)")
_SPECIAL: Final = frozenset({"", "==", "!=", "=", "!", "(", ")", ",", "<", ">"})

_NAME: Final = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_RULE: Final = (
    "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_QUALIFIED_RULE: Final = (
    f"must {_RULE} (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_NAME.pattern}')"
)
_QUALIFIED_HINT: Final = "(e.g. 'example.com/MyName')"
_VALUE_RULE: Final = (
    f"a valid label must be an empty string or {_RULE} (e.g. 'MyValue',  or 'my_value',  or '12345', "
    f"regex used for validation is '({_NAME.pattern})?')"
)
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    f"end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)

_FIELD_TERMS: Final = re.compile(r"(?:[^\\,]|\\.|\\\Z)+", re.DOTALL)
"""What lies between commas that no backslash protects."""
_FIELD_TERM: Final = re.compile(r"(.*?)(!=|==|=)(.*)", re.DOTALL)


class _Parser:
    """Reads a label selector token by token."""

    def __init__(self, text: str) -> None:
        # "in" and "notin" are operators only where an operator is due; elsewhere they are names like others.
        self._tokens = _TOKEN.findall(text)
        self._place = 0

    def parse(self) -> list[Requirement]:
        """Return the requirements. Raises ValueError."""
        requirements: list[Requirement] = []
        if self._next() == "":
            return requirements
        if not self._starts_requirement():
            raise ValueError(f"found '{self._next()}', expected: !, identifier, or 'end of string'")
        while True:
            try:
                requirements.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from error
            separator = self._take()
            if separator == "":
                return requirements
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            if not self._starts_requirement():
                raise ValueError(f"found '{self._next()}', expected: identifier after ','")

    def _next(self) -> str:
        return self._tokens[min(self._place, len(self._tokens) - 1)]

    def _take(self) -> str:
        token = self._next()
        self._place += 1
        return token

    def _starts_requirement(self) -> bool:
        return self._next() == "!" or self._next() not in _SPECIAL

    def _requirement(self) -> Requirement:
        absent = self._next() == "!"
        if absent:
            self._take()
        key = self._take_name()
        if problems := label_key_problems(key):
            raise ValueError(_invalid("<nil>", key, problems))
        if self._next() in {"", ","}:
            return _requirement(key, "!" if absent else "exists", ())
        symbol = self._take()
        operator = _OPERATORS.get(symbol)
        if operator is None:
            raise ValueError(f"found '{symbol}', expected: in, notin, =, ==, !=, gt, lt")
        return _requirement(key, operator, self._values() if operator in {"in", "notin"} else self._value())

    def _take_name(self) -> str:
        token = self._take()
        if token in _SPECIAL:
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def _value(self) -> tuple[str, ...]:
        """Return what follows an operator; nothing is the empty value."""
        return ("",) if self._next() in {"", ","} else (self._take_name(),)

    def _values(self) -> tuple[str, ...]:
        """Return the values in parentheses; where one is missing, as in "(a,,b)" or "()", it is the empty one."""
        if (token := self._take()) != "(":
            raise ValueError(f"found '{token}' expected: '('")
        found: dict[str, None] = {}
        while True:
            token = self._next()
            if token not in _SPECIAL:
                found[self._take()] = None
            elif token in {",", ")"}:
                found[""] = None
            else:
                raise ValueError(f"found '{token}', expected: ',', ')' or identifier")
            token = self._take()
            if token == ")":
                return tuple(sorted(found))
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or ')'")


def _of(requirements: Iterable[Requirement]) -> Selector:
    ordered = tuple(sorted(requirements, key=_key_of))
    return Selector(ordered) if ordered else EVERYTHING


def _key_of(requirement: Requirement) -> str:
    return requirement.key


def _from_expression(expression: ExpressionLike) -> Requirement:
    operator = _EXPRESSIONS.get(expression.operator)
    if operator is None:
        raise ValueError(f'"{expression.operator}" is not a valid label selector operator')
    return _requirement(expression.key, operator, tuple(expression.values))


def _requirement(key: str, operator: Operator, values: tuple[str, ...]) -> Requirement:
    """Return the requirement. Raises ValueError with all that is wrong with it."""
    errors: list[str] = []
    if problems := label_key_problems(key):
        errors.append(_invalid("key", key, problems))
    if operator in {"in", "notin"} and not values:
        errors.append("values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty")
    if operator in {"exists", "!"} and values:
        listed = ",".join(f'"{value}"' for value in values)
        errors.append(f"values: Invalid value: [{listed}]: values set must be empty for exists and does not exist")
    if operator in {"gt", "lt"}:
        problem = "for 'Gt', 'Lt' operators, the value must be an integer"
        errors += [
            _invalid(f"values[{place}]", value, [problem])
            for place, value in enumerate(values)
            if _integer(value) is None
        ]
    for place, value in enumerate(values):
        if problems := label_value_problems(value):
            errors.append(_invalid(f"values[{place}][{key}]", value, problems))
    if errors:
        raise ValueError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return Requirement(key, operator, values)


def _invalid(path: str, value: str, problems: Sequence[str]) -> str:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}: Invalid value: "{quoted}": {"; ".join(problems)}'


def _subdomain_problems(name: str) -> list[str]:
    problems = ["must be no more than 253 characters"] if len(name) > 253 else []
    return problems if _SUBDOMAIN.fullmatch(name) else [*problems, _SUBDOMAIN_RULE]


def _integer(text: str) -> int | None:
    """Return the 64-bit integer that `text` writes, None when it writes none."""
    number = int(text) if _INTEGER.fullmatch(text) else None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _unescape(value: str) -> str:
    r"""Return the value without the backslashes of \\, \, and \=."""
    result: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            following = next(characters, "")
            if following not in {"\\", ",", "="}:
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{following}")
            result.append(following)
        elif character in {",", "="}:
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(character)}")
        else:
            result.append(character)
    return "".join(result)
