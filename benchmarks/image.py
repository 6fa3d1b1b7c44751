"""The server that the Dockerfile makes: its size, and the time to its first answer.

`python benchmarks/image.py ARTIFACT` carries out the steps of the Dockerfile in a folder instead of an image, starts
the server of an ONNX artifact in an empty one, and asks it. It needs a registry of packages. The wheel that the steps
build must have the same files as the one that is built from the source distribution.
"""

import argparse
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from pathlib import Path

from measuring import ROOT, figure

IMAGE = "/opt/chirplet"
"""Where the Dockerfile puts the environment."""
PORT = 8765
TEXT = "what a lovely day"
ANSWERED_S = 60.0


class Steps:
    """The instructions of the Dockerfile, with `environment` as the folder that goes into the image."""

    def __init__(self, environment: Path) -> None:
        self.environment = environment
        text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").replace(IMAGE, str(environment))
        lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        self.all = [(name, rest.strip()) for name, _, rest in lines]

    def build(self, workspace: Path, python: Path) -> None:
        """Carry out the steps of the first stage in `workspace`, with the `python` and pip of a folder."""
        path = {"PATH": f"{python}:{os.environ['PATH']}"}
        without = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        variables = {name: value for name, value in os.environ.items() if name not in without} | path
        for name, rest in self.all[: self.all.index(("FROM", "${PYTHON}"))]:
            if name == "COPY":
                *sources, target = rest.split()
                for source in sources:
                    copy(ROOT / source, workspace / target)
            elif name == "RUN":
                subprocess.run(["bash", "-ec", rest], cwd=workspace, env=variables, stdout=sys.stderr, check=True)

    def command(self, name: str) -> list[str]:
        """The words of ENTRYPOINT, or of the command of HEALTHCHECK, with programs of the environment."""
        rest = next(rest for one, rest in self.all if one == name)
        program, *words = json.loads(rest[rest.index("[") :])
        return [str(self.environment / "bin" / program), *words]


def copy(source: Path, target: Path) -> None:
    """COPY of a file into a folder, or of a folder's content into another."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copy2(source, target)


def files_of(wheel: Path) -> set[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def check_source_distribution(workspace: Path, python: Path) -> None:
    """See that the wheel has the files of the one that is built from the source distribution."""
    (wheel,) = (workspace / "dist").glob("*.whl")
    build = "import setuptools.build_meta as build; build.build_sdist('dist')"
    pip: list[str | Path] = [python / "python", "-m", "pip"]
    subprocess.run([*pip, "install", "--quiet", "setuptools>=77"], check=True)
    subprocess.run([python / "python", "-c", build], cwd=workspace, stdout=sys.stderr, check=True)
    (source,) = (workspace / "dist").glob("*.tar.gz")
    again = [*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", workspace / "again", source]
    subprocess.run(again, stdout=sys.stderr, check=True)
    other = files_of(next((workspace / "again").glob("*.whl")))
    if files_of(wheel) != other:
        raise SystemExit(f"the source distribution makes another wheel: {sorted(files_of(wheel) ^ other)}")


def megabytes(folder: Path) -> float:
    """Million bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def ask() -> list[dict[str, object]]:
    """The server's answer to a text."""
    body, kind = json.dumps({"inputs": TEXT}).encode(), {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/predict", body, kind)
    with urllib.request.urlopen(request, timeout=ANSWERED_S) as answer:
        (found,) = json.load(answer)
    return list(found)


def started(steps: Steps, artifact: Path) -> tuple[float, float, float]:
    """Wall-clock and CPU seconds from the start of the server to its first answer, and its memory then in MB."""
    own = [f"artifact={artifact}", "stage.host=127.0.0.1", f"stage.port={PORT}"]
    variables = {"PATH": f"{steps.environment / 'bin'}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as empty:
        begun, answer = time.perf_counter(), None
        command = [*steps.command("ENTRYPOINT"), *own, f"hydra.run.dir={empty}/run"]
        server = subprocess.Popen(command, cwd=empty, env=variables, stdout=sys.stderr)
        try:
            while answer is None and time.perf_counter() - begun < ANSWERED_S and server.poll() is None:
                try:
                    answer = ask()
                except OSError:
                    time.sleep(0.01)
            seconds = time.perf_counter() - begun
            if answer is None:
                raise SystemExit(f"no answer within {ANSWERED_S:.0f} s; exit code {server.poll()}")
            fields = Path(f"/proc/{server.pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            status = Path(f"/proc/{server.pid}/status").read_text(encoding="utf-8")
            memory = int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024 / 1e6
            health = [word.replace(":8000/", f":{PORT}/") for word in steps.command("HEALTHCHECK")]
            subprocess.run(health, check=True)
            server.send_signal(signal.SIGTERM)
            if server.wait(ANSWERED_S) != 0:
                raise SystemExit(f"the server ended with exit code {server.returncode}")
        finally:
            server.kill()
    return seconds, cpu, memory


def main() -> None:
    """Make the environment, start its server several times, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path, help="folder of an ONNX artifact")
    parser.add_argument("--quick", action="store_true", help="3 starts instead of 11")
    asked = parser.parse_args()
    artifact = asked.artifact.absolute()
    with tempfile.TemporaryDirectory() as folder:
        workspace, builder = Path(folder, "build"), Path(folder, "python")
        workspace.mkdir()
        subprocess.run([sys.executable, "-m", "venv", builder], check=True)
        steps = Steps(Path(folder, "environment"))
        steps.build(workspace, builder / "bin")
        check_source_distribution(workspace, builder / "bin")
        size = megabytes(steps.environment) + megabytes(artifact)
        starts = [started(steps, artifact) for _ in range(3 if asked.quick else 11)]
    seconds, cpu, memory = (statistics.median(values) for values in zip(*starts, strict=True))
    figures = [
        figure("contents above the base image, with the artifact", size, "MB", at_most=250.0),
        figure("start to first answer", seconds, "s", at_most=1.0),
        figure("start to first answer, CPU", cpu, "s"),
        figure("memory after the first answer", memory, "MB"),
    ]
    context = {"cpu": platform.processor() or platform.machine(), "versions": {"python": platform.python_version()}}
    print(json.dumps({"figures": figures, "context": context | {"quick": asked.quick}}))


if __name__ == "__main__":
    main()
