"""Leaves of the workspace in the present folder what its users build: the libraries, without what only their tests need."""

import re
from pathlib import Path

root = Path("Cargo.toml")
manifest = root.read_text(encoding="utf-8")
root.write_text(re.sub(r"^members = .*$", 'members = ["crates/*"]', manifest, flags=re.M), encoding="utf-8")
for path in Path("crates").glob("*/Cargo.toml"):
    sections = re.split(r"^(?=\[)", path.read_text(encoding="utf-8"), flags=re.M)
    kept = (section for section in sections if "dev-dependencies" not in section.split("\n", 1)[0])
    path.write_text("".join(kept), encoding="utf-8")
