"""The rights that expressions ask for: answered by the authorizer, each question once for a request.

Expressions are evaluated at one go, while an authorizer may have to ask somebody else. So a question without an answer
fails the evaluation; it is answered, and the evaluation made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, TypeVar

from orch_api.auth.attributes import Attributes, Verdict
from orch_api.auth.authorizer import field_requirements, label_requirements
from orch_api.auth.identity import Caller
from orch_api.extensions.expressions.admission import ExpressionError
from orch_api.extensions.expressions.authorizing import Answer, Question, account_user, asking

_ROUNDS: Final = 32
_Result = TypeVar("_Result")


class Deciding(Protocol):
    """Whoever decides what somebody may do."""

    async def judge(self, caller: Caller, wanted: Attributes) -> Verdict:
        """Return whether `caller` may do what is wanted, and why."""
        ...


class Rights:
    """Answers the questions of the expressions about one request."""

    def __init__(self, caller: Caller, authority: Deciding) -> None:
        self._caller = caller
        self._authority = authority
        self._answers: dict[Question, Answer] = {}
        self._open: list[Question] = []

    async def evaluate(self, evaluation: Callable[[], _Result]) -> _Result:
        """Return what an evaluation returns, once all that it asks is answered. Raises ExpressionError."""
        for _ in range(_ROUNDS):
            failure: ExpressionError | None = None
            self._open.clear()
            with asking(self._ask):
                try:
                    result = evaluation()
                except ExpressionError as error:
                    failure = error
                else:
                    if not self._open:
                        return result
            if failure is not None and not self._open:
                raise failure
            for question in dict.fromkeys(self._open):
                self._answers[question] = await self._answer(question)
        raise ExpressionError("the expression asks the authorizer too many questions")

    def _ask(self, question: Question) -> Answer:
        found = self._answers.get(question)
        if found is None:
            self._open.append(question)
            raise LookupError("not answered yet")
        return found

    async def _answer(self, question: Question) -> Answer:
        caller = self._caller
        if question.account is not None:
            user, groups = account_user(question.account)
            caller = Caller(user, groups)
        verdict = await self._authority.judge(caller, _attributes(question))
        return Answer(verdict.allowed, verdict.reason, verdict.error)


def _attributes(question: Question) -> Attributes:
    """Return what is asked in the authorizer's form."""
    if question.path is not None:
        return Attributes(verb=question.verb, path=question.path)
    return Attributes(
        verb=question.verb,
        group=question.group,
        resource=question.resource,
        subresource=question.subresource,
        namespace=question.namespace,
        name=question.name,
        labels=label_requirements(question.label_selector or ""),
        fields=field_requirements(question.field_selector or ""),
    )
