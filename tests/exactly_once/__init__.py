"""Proof, on real brokers and with real worker processes, that faults neither lose nor double anything (DESIGN D3 to D8)."""
