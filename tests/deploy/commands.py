"""Runs the commands of documents on a demo: each block marked `sh`, unless the line before it says `<!-- not run here: needs … -->`.

    commands.py HOST:PORT LEAST DOCUMENT...        fails when fewer than LEAST blocks were run
"""
import os
import pathlib
import re
import subprocess
import sys

address, least, documents = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
wrong, seen = [], set()
for document in documents:
    text = pathlib.Path(document).read_text()
    for mark, block in re.findall(r"(<!-- (?:drill: [a-z-]+; )?not run here: needs [^>]+ -->\n\s*)?```sh\n(.*?)```", text, re.S):
        if mark or block in seen:
            continue
        seen.add(block)
        script = "set -eo pipefail\n" + block.replace("127.0.0.1:8080", address).replace("localhost:8080", address)
        # Three tries: a machine that is busy answers 408 to who waited for a processor.
        for _ in range(3):
            ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, env=os.environ)
            said = ended.stdout + ended.stderr
            # 1: something was found wrong, such as a condition that holds, and said. What selects may find nothing.
            answered = bool(said.strip()) or "select(" in block or "mv " in block
            good = answered and (ended.returncode == 0 or (ended.returncode == 1 and not ended.stderr))
            if good:
                break
        if not good:
            wrong.append(f"{document}: {block.strip()}\nended with {ended.returncode}: {said[:400]}")
print(f"{len(seen)} blocks of {len(documents)} documents")
if len(seen) < least:
    wrong.append(f"only {len(seen)} blocks were run: the documents are not read as they are written")
print("\n".join(wrong))
sys.exit(bool(wrong))
