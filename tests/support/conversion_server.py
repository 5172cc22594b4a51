"""A conversion webhook on 127.0.0.1: a host and its port in one field in old versions, in two in the others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from certificates import Files
from https_server import Asked

OLD = "/v1beta1"


class ConversionServer:
    """Converts host and port to hostPort and back, unless it is told to misbehave."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.asked: list[Asked] = []
        self.port = 0
        self.change: Any = lambda review: None
        self.status = 200

    async def __call__(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        request = asked.json["request"]
        converted = [self._convert(one, request["desiredAPIVersion"]) for one in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}
        review = {"kind": "ConversionReview", "apiVersion": asked.json["apiVersion"], "response": response}
        self.change(review)
        return self.status, review

    def _convert(self, one: Any, api_version: str) -> Any:
        spec = dict(one["spec"])
        if api_version.endswith(OLD):
            spec["hostPort"] = f"{spec.pop('host', '')}:{spec.pop('port', 0)}"
        else:
            host, _, port = spec.pop("hostPort", ":0").partition(":")
            spec |= {"host": host, "port": int(port)}
        return {**one, "apiVersion": api_version, "spec": spec}

    def config(self, **more: Any) -> dict[str, Any]:
        """Return what a definition says of this webhook; None takes a part of the client's settings out."""
        bundle = base64.b64encode(Path(self.files.ca).read_bytes()).decode()
        client = {"url": f"https://127.0.0.1:{self.port}/convert", "caBundle": bundle, **more}
        client = {name: value for name, value in client.items() if value is not None}
        return {"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v2", "v1"], "clientConfig": client}}
