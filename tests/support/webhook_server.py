"""An admission webhook on 127.0.0.1 that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from certificates import Files
from https_server import Asked
from policies import rule


class AdmissionServer:
    """Answers reviews: `answers` by path, each a function of the request, or what a response has beside its uid."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.port = 0
        self.asked: list[Asked] = []
        self.answers: dict[str, Any] = {}
        self.change: Any = lambda review: review
        self.status = 200
        self.headers: list[tuple[str, str]] = []

    async def __call__(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        review = asked.json
        request = review["request"]
        found = self.answers.get(asked.target.partition("?")[0], {"allowed": True})
        if callable(found):
            found = found(request)
            if hasattr(found, "__await__"):
                found = await found
        response = {"uid": request["uid"], **found}
        answer = {"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}
        return self.status, self.change(answer)

    @property
    def requests(self) -> list[Any]:
        """What was asked, in order."""
        return [one.json["request"] for one in self.asked]

    @property
    def paths(self) -> list[str]:
        """Where it was asked, in order."""
        return [one.target.partition("?")[0] for one in self.asked]

    def client(self, path: str = "/", **more: Any) -> dict[str, Any]:
        bundle = base64.b64encode(Path(self.files.ca).read_bytes()).decode()
        found = {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": bundle, **more}
        return {name: value for name, value in found.items() if value is not None}

    def hook(self, path: str = "/", name: str = "hook.example.com", **more: Any) -> dict[str, Any]:
        """Return a webhook of a configuration: for ConfigMaps, without side effects."""
        return {
            "name": name,
            "clientConfig": self.client(path),
            "rules": [rule()],
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **more,
        }


def configuration(kind: str, *hooks: dict[str, Any], name: str = "") -> dict[str, Any]:
    """Return a configuration; `kind` is "Validating" or "Mutating"."""
    return {
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": name or kind.lower()},
        "webhooks": list(hooks),
    }


def patch(*operations: Any, **more: Any) -> dict[str, Any]:
    """Return the response of a webhook that lets a request pass, changed by a JSON patch."""
    encoded = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded, **more}


def add(path: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": path, "value": value}
