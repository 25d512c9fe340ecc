"""Makes a workspace of one package for each README: the dependencies that the page states, and its Rust as programs: each block of the
first page, the first block of a crate's. What follows there may need more, and says so; it runs as a doc test.

    snippets.py FOLDER     run at the root of the repository, whose crates take the place of the published ones
"""

import re
import sys
from pathlib import Path

folder = Path(sys.argv[1])
crates = sorted(path.parent for path in Path("crates").glob("*/Cargo.toml"))
pages = {"readme": Path("README.md")} | {crate.name: crate / "README.md" for crate in crates}
members = []
for name, path in pages.items():
    page = path.read_text(encoding="utf-8")
    stated = re.search(r"^```toml\n(\[(?:dev-)?dependencies\]\n.*?)^```", page, re.M | re.S)
    blocks = re.findall(r"^```rust(?!,(?:ignore|compile_fail))[^\n]*\n(.*?)^```", page, re.M | re.S)
    if not stated or not blocks:
        continue
    members.append(name)
    if name != "readme":
        blocks = blocks[:1]
    package = folder / name
    (package / "examples").mkdir(parents=True)
    (package / "src").mkdir()
    (package / "src/lib.rs").write_text("", encoding="utf-8")
    head = f'[package]\nname = "snippets-of-{name}"\nversion = "0.0.0"\nedition = "2024"\npublish = false\n\n'
    (package / "Cargo.toml").write_text(head + stated[1], encoding="utf-8")
    for number, block in enumerate(blocks, 1):
        # rustdoc hides these lines, and their mark is no part of the code.
        code = re.sub(r"^( *)# ?(?!\[|!)", r"\1", block, flags=re.M)
        if "fn main()" not in code:
            # As rustdoc does: the block may end with a result, or with none.
            result = " -> Result<(), impl std::fmt::Debug>" if "\nOk::<" in code else ""
            code = f"fn block(){result} {{\n{code}}}\n\nfn main() {{\n    _ = block();\n}}\n"
        (package / f"examples/block_{number}.rs").write_text(code, encoding="utf-8")

quoted = ", ".join(f'"{member}"' for member in members)
patches = "\n".join(f'{crate.name} = {{ path = "{crate.resolve().as_posix()}" }}' for crate in crates)
(folder / "Cargo.toml").write_text(
    f'[workspace]\nresolver = "3"\nmembers = [{quoted}]\n\n[patch.crates-io]\n{patches}\n', encoding="utf-8"
)
(folder / "Cargo.lock").write_text(Path("Cargo.lock").read_text(encoding="utf-8"), encoding="utf-8")
print(f"{len(members)} pages")
