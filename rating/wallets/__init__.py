"""Prepaid credits: grants in money or compute credits, and how they pay rated records (docs/prepaid.md)."""

from rating.wallets.charges import WALLET, Charge, charge_of
from rating.wallets.debits import GRANT, debit_sku
from rating.wallets.grants import CREDIT_DECIMALS, Coverage, Grant, decimals_of
from rating.wallets.report import WalletReport, reports
from rating.wallets.wallet import GrantSums, Moved, Wallet

__all__ = [
    "CREDIT_DECIMALS",
    "GRANT",
    "WALLET",
    "Charge",
    "Coverage",
    "Grant",
    "GrantSums",
    "Moved",
    "Wallet",
    "WalletReport",
    "charge_of",
    "debit_sku",
    "decimals_of",
    "reports",
]
