"""Writing orders about prepaid credits: grants, voids, transfers. Like all control records, in one transaction with the
catalogue, and doing the same again writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from infra.config import Settings
from infra.kafka import end_offsets, read_to_end
from producers.control import ControlWrite, ControlWriter, PublishedCatalog
from producers.errors import ControlError
from schemas.wallets import WalletGranted, WalletTransferred, WalletVoided

WalletRecord = WalletGranted | WalletVoided | WalletTransferred
_GRANT, _VOID, _TRANSFER = "grant", "void", "transfer"
_MODELS: Final[Mapping[str, type[WalletRecord]]] = MappingProxyType(
    {_GRANT: WalletGranted, _VOID: WalletVoided, _TRANSFER: WalletTransferred}
)
_WHO: Final = {"ordered_at", "ordered_by", "reason"}
"""An order is the same whoever gives it again."""


@dataclass(frozen=True, slots=True)
class OrderedWallets:
    """What was ordered: grants and transfers by (tenant, id), voids by (tenant, grant).

    What a transfer gave to another tenant is not among the grants: the giving tenant's worker decides it.
    """

    grants: Mapping[tuple[str, str], WalletGranted]
    voids: Mapping[tuple[str, str], WalletVoided]
    transfers: Mapping[tuple[str, str], WalletTransferred]


def read_wallets(settings: Settings) -> OrderedWallets:
    """Read the orders about prepaid credits in the catalogue topic.

    Raises BrokerError: `unknown_topic`, `broker_unreachable`; ControlError `catalog_unreadable`.
    """
    found: dict[str, dict[tuple[str, str], WalletRecord]] = {kind: {} for kind in _MODELS}
    topic = settings.topics.rating_catalog
    # A commit returns before everybody can read what it wrote: wait for all that was there when this was called.
    end = end_offsets(settings, topic, [0])[0]
    for message in read_to_end(settings, topic, 0, until=end):
        key, value = (message.key() or b"").decode("utf-8", "replace"), message.value()
        kind, _, rest = key.partition("|")
        tenant_id, _, name = rest.rpartition("|")
        if kind not in _MODELS or value is None:
            continue
        try:
            found[kind][tenant_id, name] = _MODELS[kind].model_validate_json(value)
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            raise ControlError(
                f"catalogue entry {key!r} at offset {message.offset()} cannot be read: {reason}",
                code="catalog_unreadable",
                key=key,
            ) from None
    return OrderedWallets(
        MappingProxyType({key: each for key, each in found[_GRANT].items() if isinstance(each, WalletGranted)}),
        MappingProxyType({key: each for key, each in found[_VOID].items() if isinstance(each, WalletVoided)}),
        MappingProxyType({key: each for key, each in found[_TRANSFER].items() if isinstance(each, WalletTransferred)}),
    )


class WalletWriter(ControlWriter):
    """A control writer for orders about prepaid credits."""

    def order(self, record: WalletRecord) -> bool:
        """Write an order into the log of its tenant. Returns False when exactly this is ordered already.

        Raises ControlError `wallet_conflict` for other content under the id of a known grant or transfer, BrokerError.
        What only the tenant's worker can know (whether a grant of that name is there, whether enough is left for a
        transfer) it decides itself; what it refuses is in the dead letters as `invalid_control`.
        """
        return bool(self._write_once(lambda catalog: self._decide(catalog, record)))

    def _decide(self, _: PublishedCatalog, record: WalletRecord) -> list[ControlWrite]:
        kind, name, known = self._known(record)
        if known is not None and _content(known) == _content(record):
            return []
        if known is not None and kind != _VOID:
            raise ControlError(
                f"{record.tenant_id} has another {kind} {name} (by {known.ordered_by}): choose another id",
                code="wallet_conflict",
                tenant_id=record.tenant_id,
            )
        key = f"{kind}|{record.tenant_id}|{name}"
        return [ControlWrite(record, key, self._partitions_of(record.tenant_id), key)]

    def _known(self, record: WalletRecord) -> tuple[str, str, WalletRecord | None]:
        """What kind of order it is, its name, and the one of that name that was given before."""
        ordered = read_wallets(self._settings)
        if isinstance(record, WalletGranted):
            return _GRANT, record.grant_id, ordered.grants.get((record.tenant_id, record.grant_id))
        if isinstance(record, WalletVoided):
            return _VOID, record.grant_id, ordered.voids.get((record.tenant_id, record.grant_id))
        return _TRANSFER, record.transfer_id, ordered.transfers.get((record.tenant_id, record.transfer_id))


def _content(record: WalletRecord) -> object:
    return record.model_dump(exclude=_WHO)
