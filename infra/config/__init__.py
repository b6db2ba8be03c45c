"""Configuration: one immutable `Settings`, from flags, `TOKENMILL_*` variables and a TOML file, checked as a whole.

Strength: a flag wins over the environment, that over the file, that over the default. The model with every setting's
meaning, bounds and default is `infra.config.model`; the pages for people are `tokenmill config` and
`docs/configuration.md`, both generated from it. The two addresses:

    TOKENMILL_KAFKA        host:port[,host:port...]
    TOKENMILL_CLICKHOUSE   http[s]://user:password@host:port/database
"""

from infra.config.catalog import PREFIX, setting_names
from infra.config.load import Configuration, environment, load_settings, read_configuration
from infra.config.model import GIB, ClickHouseSettings, KafkaSettings, Settings, parse_clickhouse

__all__ = [
    "GIB",
    "PREFIX",
    "ClickHouseSettings",
    "Configuration",
    "KafkaSettings",
    "Settings",
    "environment",
    "load_settings",
    "parse_clickhouse",
    "read_configuration",
    "setting_names",
]
