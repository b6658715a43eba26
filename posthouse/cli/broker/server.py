"""One broker on loopback: formatted, started, watched, killed and stopped by this process.

It dies with the thread that started it (on Linux): Java processes outlive a killed parent otherwise.
"""

import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from posthouse.cli.broker.cache import cache_folder, made_once
from posthouse.cli.broker.jars import VERSION, find_jars
from posthouse.cli.broker.java import find_java
from posthouse.domain.errors import Misconfigured
from posthouse.storage.pg_host import Identity, launch_line

_HOST: Final = "127.0.0.1"
#: Below the ports that the kernel gives to outgoing connections: else a client's own socket may take the
#: broker's port while it is down.
_PORTS: Final = range(20_000, 32_000)
_CLUSTER: Final = "cG9zdGhvdXNlLWJyb2tlcg"
#: Small and quick to start: it serves one person or one test run.
_JVM: Final = (
    "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)  # fmt: skip
#: A killed broker may register again only when its old session has ended: by default 9 s.
_PROPERTIES: Final = Template("""\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$host:$controller
listeners=PLAINTEXT://$host:$port,CONTROLLER://$host:$controller
advertised.listeners=PLAINTEXT://$host:$port
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
""")
_START_WITHIN: Final = 60.0  # seconds
_STOP_WITHIN: Final = 20.0  # seconds


class Broker:
    """Its folder and ports stay the same from start to start: clients find it again."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        """Finds Java and the jars, fetching them if need be. Raises Misconfigured."""
        self._folder = folder
        self._java = [str(find_java(environ)), *_JVM, "-cp", f"{find_jars(environ)}/*"]
        self._port, self._controller = _two_ports()
        self._process: subprocess.Popen[bytes] | None = None
        _lay_out(folder, self._java, environ)

    @property
    def bootstrap_servers(self) -> str:
        return f"{_HOST}:{self._port}"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Return when it serves consumer groups. Raises Misconfigured when it does not come up."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Return at once. The thread that calls it must outlive the broker."""
        assert self._process is None, "it runs already"
        config = self._folder / "server.properties"
        config.write_text(_properties(self._port, self._controller, self._folder / "data"), encoding="ascii")
        command = [*self._java, "kafka.Kafka", str(config)]
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                launch_line(Identity("same"), self._folder, command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the house, which needs its broker to drain
            )

    def kill(self) -> None:
        """As a power cut would, but for the page cache."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """In order."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until_ready(self) -> None:
        """An open port is not enough: metadata must list a broker, and the coordinator of groups answer."""
        process = self._process
        assert process is not None, "it was not launched"
        ends = time.monotonic() + _START_WITHIN
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers, "log_level": 0})
        while time.monotonic() < ends and process.poll() is None:
            try:
                if admin.list_topics(timeout=1.0).brokers:
                    admin.describe_consumer_groups(["ready"], request_timeout=1.0)["ready"].result()
                    return
            except KafkaException:
                time.sleep(0.05)
        self.kill()
        last = (self._folder / "broker.log").read_text(encoding="utf-8", errors="replace")[-1000:]
        raise Misconfigured(f"The Kafka broker in {self._folder} did not start: {last}")


@contextmanager
def running(folder: Path, environ: Mapping[str, str]) -> Iterator[Broker]:
    """A broker with its data in `folder`, stopped at the end."""
    broker = Broker(folder, environ)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def _lay_out(folder: Path, java: list[str], environ: Mapping[str, str]) -> None:
    """The formatted data folder, once. Formatting starts a Java and takes seconds; a copy takes none."""
    data = folder / "data"
    if data.is_dir():
        return

    def format_in(made: Path) -> None:
        config = made / "server.properties"
        config.write_text(_properties(*_two_ports(), made / "data"), encoding="ascii")
        command = [*java, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise Misconfigured(f"Kafka cannot format its data folder: {done.stdout} {done.stderr}")

    template = made_once(
        cache_folder(environ) / f"kafka-{VERSION}-formatted",
        lambda made: (made / "data" / "meta.properties").is_file(),
        format_in,
    )
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(template / "data", data)


def _properties(port: int, controller: int, data: Path) -> str:
    return _PROPERTIES.substitute(host=_HOST, port=port, controller=controller, data=data)


def _two_ports() -> tuple[int, int]:
    """Ports that nobody listens on now. By chance, so that test processes that look at once find others."""
    chooser = random.SystemRandom()
    found: set[int] = set()
    while len(found) < 2:
        port = chooser.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((_HOST, port))
            except OSError:
                continue
        found.add(port)
    port, controller = found
    return port, controller
