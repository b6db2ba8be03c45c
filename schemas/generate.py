"""Writes the JSON Schemas and the AsyncAPI document of the wire contracts: `python -m schemas.generate`.

They lie in `schemas/json/` and are generated from the models and the golden examples; a test fails when they are not current.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema

from schemas.asyncapi import Contract, asyncapi_document
from schemas.control import AccountAssigned, RateCardActivated, Tick
from schemas.events import Event, GpuUsage, GpuUtilization, TokenUsage
from schemas.kinds import Kind
from schemas.rated import RatedUsage
from schemas.rerating import RerateOrdered
from schemas.signals import PolicySignal
from schemas.source_rejects import SourceReject
from schemas.wallets import WalletGranted, WalletTransferred, WalletVoided

FOLDER: Final = Path(__file__).parent / "json"
EXAMPLES: Final = Path(__file__).parent / "examples"

DOCUMENTED: Final[Mapping[str, tuple[type[BaseModel], str]]] = {
    "token_usage": (TokenUsage, Kind.TOKEN_USAGE),
    "gpu_utilization": (GpuUtilization, Kind.GPU_UTILIZATION),
    "gpu_usage": (GpuUsage, Kind.GPU_USAGE),
    "rate_card_activated": (RateCardActivated, Kind.RATE_CARD),
    "account_assigned": (AccountAssigned, Kind.ASSIGNMENT),
    "tick": (Tick, Kind.TICK),
    "rerate_ordered": (RerateOrdered, Kind.RERATE),
    "wallet_granted": (WalletGranted, Kind.WALLET_GRANT),
    "wallet_voided": (WalletVoided, Kind.WALLET_VOID),
    "wallet_transferred": (WalletTransferred, Kind.WALLET_TRANSFER),
    "rated_usage": (RatedUsage, Kind.RATED_USAGE),
    "policy_signal": (PolicySignal, Kind.SIGNAL),
    "source_reject": (SourceReject, ""),
}
"""File name to model and CloudEvents type ("" where the data are in no envelope)."""


class _FieldsWithoutTitles(GenerateJsonSchema):
    """Pydantic's generator, but a field has a description and no title made of its name."""

    def field_title_should_be_set(self, schema: CoreSchema) -> bool:
        """Never: `Tenant Id` says no more than `tenant_id`."""
        return False


def json_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the JSON data of one contract, with the golden examples inside.

    Of an event, `id` and `source` are left out: they are attributes of the CloudEvents envelope.
    """
    model, kind = DOCUMENTED[name]
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:tokenmill:{name}:v1",
    }
    schema |= _with_descriptions_in_one_line(model.model_json_schema(schema_generator=_FieldsWithoutTitles))
    if kind:
        schema["x-cloudevents-type"] = str(kind)
    if issubclass(model, Event):
        for attribute in ("id", "source"):
            del schema["properties"][attribute]
            schema["required"].remove(attribute)
        if model is GpuUtilization:
            schema["required"].remove("time")  # the envelope's time serves where the data have none
        schema["x-invariants"] = [
            {"code": rule.code, "rule": f"{' + '.join(rule.parts)} <= {rule.whole}"} for rule in model.invariants
        ]
    schema["examples"] = [data for _, data in examples(name)]
    return schema


def _with_descriptions_in_one_line(node: Any) -> Any:
    """The schema without the line breaks of docstrings."""
    if isinstance(node, dict):
        return {
            name: " ".join(child.split())
            if name == "description" and isinstance(child, str)
            else _with_descriptions_in_one_line(child)
            for name, child in node.items()
        }
    return [_with_descriptions_in_one_line(child) for child in node] if isinstance(node, list) else node


def examples(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The golden examples of a contract: the CloudEvents envelope without its data ({} where there is none), and the data."""
    records = orjson.loads((EXAMPLES / f"{name}.json").read_bytes())
    return [(record, record.pop("data")) if "specversion" in record else ({}, record) for record in records]


def documents() -> dict[str, bytes]:
    """File name to content of everything generated."""
    schemas = {name: json_schema(name) for name in DOCUMENTED}
    contracts = [
        Contract(name, str(kind), schemas[name], tuple(examples(name))) for name, (_, kind) in DOCUMENTED.items()
    ]
    contents = {f"{name}.json": schema for name, schema in schemas.items()}
    contents["asyncapi.json"] = asyncapi_document(contracts)
    return {
        name: orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        for name, content in contents.items()
    }


def main() -> None:
    """Write every document, and name those that changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in documents().items():
        path = FOLDER / name
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
