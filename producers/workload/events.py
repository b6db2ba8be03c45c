"""Requests as TokenUsage events: numbers become names, ids and instants."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from producers.columns import constant, fixed_width_texts, instants, make_batch, names
from producers.workload.draws import Ints, Words
from producers.workload.figures import AGENT, CLASSES, FAILURES
from producers.workload.fleet import deployments
from producers.workload.requests import ABORTED, ERROR, STATUSES, SUCCESS, USERS_PER_TENANT, Requests
from schemas.kinds import Kind

_CONSTANTS = {"provider": "tokenmill", "region": "eu-central", "site": "site-1"}
KEYS_PER_TENANT = 2
PROJECTS_PER_TENANT = 3
_HTTP_OK, _HTTP_CLIENT_CLOSED = 200, 499
Characters = npt.NDArray[np.uint8]
"""ASCII codes of shape (rows, width)."""
_USAGE_SOURCES = ("engine", "gateway_count")


@dataclass(frozen=True)
class EventNames:
    """The names that numbers stand for, made once for all batches of a workload, and where its clock starts."""

    tenants: list[str]
    models: list[str]
    sources: tuple[str, ...]
    start_us: int

    @cached_property
    def api_keys(self) -> list[str]:
        """KEYS_PER_TENANT keys of each tenant, tenant by tenant."""
        return [f"key-{tenant}-{key}" for tenant in range(len(self.tenants)) for key in range(KEYS_PER_TENANT)]

    @cached_property
    def projects(self) -> list[str]:
        """PROJECTS_PER_TENANT projects of each tenant, tenant by tenant."""
        return [
            f"project-{tenant}-{number}" for tenant in range(len(self.tenants)) for number in range(PROJECTS_PER_TENANT)
        ]

    @cached_property
    def users(self) -> list[str]:
        """USERS_PER_TENANT end users of each tenant, tenant by tenant."""
        return [
            f"user-{tenant:04d}-{user:02d}" for tenant in range(len(self.tenants)) for user in range(USERS_PER_TENANT)
        ]

    @cached_property
    def deployments(self) -> list[str]:
        """The deployment ids."""
        return [place.name for place in deployments(len(self.models))]

    @cached_property
    def gpu_types(self) -> list[str]:
        """The GPU type of each deployment."""
        return [place.gpu_type.name for place in deployments(len(self.models))]


def usage_columns(known: EventNames, requests: Requests, node: Ints) -> pa.RecordBatch:
    """What differs between the TokenUsage events of these rows, row i from gateway `node[i]`.

    Columns that are the same in every event are left to `usage_batch`.
    """
    request = _hex(requests.request_id)
    columns = {
        "id": _event_ids(request, requests.attempt),
        "source": names(known.sources, node),
        "request_id": fixed_width_texts(request),
        "attempt": pa.array(requests.attempt),
        "operation": names([each.operation for each in CLASSES], requests.kind),
        "endpoint": names([each.endpoint for each in CLASSES], requests.kind),
        "response_model": names(known.models, requests.model),
        "deployment_id": names(known.deployments, requests.deployment),
        "gpu_type": names(known.gpu_types, requests.deployment),
        "service_tier": names([each.service_tier for each in CLASSES], requests.kind),
        "stream": pa.array(requests.streamed),
        "input_tokens": pa.array(requests.input_tokens),
        "cache_read_input_tokens": pa.array(requests.cached_tokens),
        "cache_write_input_tokens": pa.array(requests.written_tokens),
        "output_tokens": pa.array(requests.output_tokens),
        "reasoning_output_tokens": pa.array(requests.reasoning_tokens),
        "training_tokens": pa.array(requests.training_tokens),
        "started_at": instants(known.start_us + requests.started_us),
        "first_token_at": instants(_from_start(known.start_us, requests.first_token_us)),
        "ended_at": instants(known.start_us + requests.ended_us),
        **_who(known, requests),
        **_outcome(requests),
    }
    return pa.RecordBatch.from_pydict(columns)


def usage_batch(picked: pa.RecordBatch) -> pa.RecordBatch:
    """A slice of `usage_columns` as a whole batch of TokenUsage."""
    columns = dict(zip(picked.schema.names, picked.columns, strict=True))
    constants = {name: constant(value, picked.num_rows) for name, value in _CONSTANTS.items()}
    everything = {**columns, **constants, "request_model": columns["response_model"]}
    return make_batch(Kind.TOKEN_USAGE, everything, picked.num_rows)


def _event_ids(request: Characters, attempt: Ints) -> pa.Array:
    """The gateway's own id of each attempt: the request's id, a dash, the number of the attempt."""
    ids = np.empty((len(attempt), 34), dtype=np.uint8)
    ids[:, :32] = request
    ids[:, 32] = ord("-")
    ids[:, 33] = attempt + ord("0")
    return fixed_width_texts(ids)


def _hex(words: Words) -> Characters:
    """The words of each row as hexadecimal digits."""
    texts = np.ascontiguousarray(words, dtype=">u8").tobytes().hex().encode()
    return np.frombuffer(texts, dtype=np.uint8).reshape(len(words), -1)


def _from_start(start_us: int, offsets_us: Ints) -> Ints:
    return np.where(offsets_us < 0, -1, start_us + offsets_us)


def _who(known: EventNames, requests: Requests) -> dict[str, pa.Array]:
    """Tenant, project, key, user, session; agents' sessions are workflows."""
    session = fixed_width_texts(_hex(requests.session[:, None]))
    user = requests.tenant * USERS_PER_TENANT + requests.user
    agents = pa.array(requests.kind == CLASSES.index(AGENT))
    return {
        "tenant_id": names(known.tenants, requests.tenant),
        # Each user is in one project and has one key; a project uses all keys.
        "project_id": names(
            known.projects,
            requests.tenant * PROJECTS_PER_TENANT + requests.user // KEYS_PER_TENANT % PROJECTS_PER_TENANT,
        ),
        "api_key_id": names(known.api_keys, requests.tenant * KEYS_PER_TENANT + requests.user % KEYS_PER_TENANT),
        "end_user_id": names(known.users, user).cast(pa.string()),
        "session_id": session,
        "workflow_id": pc.if_else(agents, session, pa.scalar(None, pa.string())),
    }


def _outcome(requests: Requests) -> dict[str, pa.Array]:
    """Status and what comes with it."""
    http = np.array([_HTTP_OK, 0, _HTTP_CLIENT_CLOSED])[requests.status]
    failed = np.flatnonzero(requests.status == ERROR)
    http[failed] = np.array([status for status, _ in FAILURES])[requests.failure[failed]]
    aborted = requests.status == ABORTED
    # An aborted stream has no last chunk with the engine's figures: the gateway counted.
    counted = aborted & requests.streamed
    # A chat that used all its tokens ended by length; nobody says so here, so every success stopped by itself.
    finish = np.where(requests.status == SUCCESS, 0, np.where(aborted, 1, -1))
    return {
        "status": names(STATUSES, requests.status),
        "http_status": pa.array(http),
        "error_type": names([error for _, error in FAILURES], requests.failure),
        "finish_reason": names(["stop", "abort"], finish),
        "usage_source": names(_USAGE_SOURCES, counted.astype(np.int64)),
    }
