"""The types are those of the service's own documents, and the README's examples run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE, Service

ROOT = Path(__file__).resolve().parent.parent


def test_types_are_those_of_asyncapi_json(quiet: Service) -> None:
    generate = [sys.executable, str(ROOT / "scripts" / "generate.py"), quiet.url, "--check"]
    ended = subprocess.run(generate, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("number", range(3))
def test_examples_of_the_readme_run(quiet: Service, tmp_path: Path, number: int) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 3
    ended = subprocess.run(
        [sys.executable, "-c", examples[number]],
        cwd=tmp_path,
        env={**os.environ, "CANDELA_URL": quiet.url},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
