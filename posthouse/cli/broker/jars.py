"""Kafka's jars, each known by its SHA-256: from a folder, the cache, Maven, or a Maven repository."""

import hashlib
import http.client
import shutil
import subprocess
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from posthouse.cli.broker.cache import cache_folder, made_once
from posthouse.domain.errors import Misconfigured

VERSION: Final = "4.4.0"
CENTRAL: Final = "https://repo1.maven.org/maven2"
_MVN: Final = ("mvn", "-B", "-ntp", "-q")
_COPY: Final = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
#: Without slf4j-simple the broker's log would be thrown away.
_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>posthouse</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version>
    </dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def find_jars(environ: Mapping[str, str]) -> Path:
    """The folder of them, whole and unaltered. Raises Misconfigured.

    POSTHOUSE_KAFKA_JARS names a folder that has them; POSTHOUSE_MAVEN_REPOSITORY another repository than
    Maven Central. `mvn` is asked first, because it knows the mirrors that its settings name.
    """
    expected = checksums()
    if given := environ.get("POSTHOUSE_KAFKA_JARS"):
        folder = Path(given)
        if wrong := _wrong(folder, expected):
            raise Misconfigured(f"POSTHOUSE_KAFKA_JARS: {folder} has not Kafka's {VERSION} jars: {wrong[0]}.")
        return folder
    return made_once(
        cache_folder(environ) / f"kafka-{VERSION}",
        lambda folder: not _wrong(folder, expected),
        lambda folder: _fetch(folder, expected, environ),
    )


def checksums() -> dict[str, str]:
    """SHA-256 by path inside a Maven repository."""
    text = (resources.files("posthouse.cli.broker") / f"kafka-{VERSION}-jars.sha256").read_text("ascii")
    return {path: digest for digest, path in (line.split() for line in text.splitlines())}


def _wrong(folder: Path, expected: Mapping[str, str]) -> list[str]:
    """What is missing or altered, in words."""
    found = []
    for path, digest in expected.items():
        jar = folder / Path(path).name
        if not jar.is_file():
            found.append(f"{jar.name} is missing")
        elif hashlib.sha256(jar.read_bytes()).hexdigest() != digest:
            found.append(f"{jar.name} has another checksum")
    return found


def _fetch(folder: Path, expected: Mapping[str, str], environ: Mapping[str, str]) -> None:
    troubles = []
    for way in (_by_maven, _by_download):
        try:
            way(folder, expected, environ)
        except (OSError, subprocess.SubprocessError, http.client.HTTPException) as error:
            troubles.append(str(error))
            continue
        if not (wrong := _wrong(folder, expected)):
            return
        troubles.append(wrong[0])
    raise Misconfigured(
        f"Kafka's jars could not be had: {'; '.join(troubles)}. Let POSTHOUSE_MAVEN_REPOSITORY name a Maven "
        "repository that this machine reaches, install Maven (Debian: apt-get install maven) and set it up, "
        f"let POSTHOUSE_KAFKA_JARS name a folder with the jars of Kafka {VERSION} (the libs of its download, "
        "with slf4j-simple), or set KAFKA_BOOTSTRAP_SERVERS to a broker that runs."
    )


def _by_maven(folder: Path, expected: Mapping[str, str], environ: Mapping[str, str]) -> None:
    if "POSTHOUSE_MAVEN_REPOSITORY" in environ:
        raise OSError("mvn was not asked, because POSTHOUSE_MAVEN_REPOSITORY is set")
    if shutil.which("mvn", path=environ.get("PATH")) is None:
        raise OSError("there is no mvn")
    pom = folder / "pom.xml"
    pom.write_text(_POM, encoding="ascii")
    subprocess.run(
        [*_MVN, "-f", str(pom), _COPY, "-DincludeScope=runtime", f"-DoutputDirectory={folder}"],
        capture_output=True,
        timeout=300,
        check=True,
    )


def _by_download(folder: Path, expected: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """One after the other on one connection: they are small, and there are not many."""
    base = urlsplit(environ.get("POSTHOUSE_MAVEN_REPOSITORY", CENTRAL))
    if base.scheme != "https" or base.hostname is None:
        raise OSError(f"{base.geturl()} is not an https address")
    connection = http.client.HTTPSConnection(base.hostname, base.port, timeout=60)
    try:
        for path in expected:
            connection.request("GET", f"{base.path.rstrip('/')}/{path}")
            with connection.getresponse() as answer:
                if answer.status != http.client.OK:
                    raise OSError(f"{base.geturl()}/{path} answered {answer.status}")
                (folder / Path(path).name).write_bytes(answer.read())
    finally:
        connection.close()
