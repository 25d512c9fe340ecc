"""Writes a package for each README into the directory of the first argument: its dependencies, and each Rust program of it."""
import pathlib
import re
import shutil
import sys

BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.S | re.M)

out = pathlib.Path(sys.argv[1])
shutil.rmtree(out, ignore_errors=True)
crates = sorted(path.parent for path in pathlib.Path("crates").glob("*/Cargo.toml"))
patches = "".join(f'{crate.name} = {{ path = "{crate.resolve()}" }}\n' for crate in crates)
members = []
for page in [pathlib.Path("README.md")] + [crate / "README.md" for crate in crates]:
    blocks = BLOCK.findall(page.read_text())
    programs = [code for kind, code in blocks if kind in ("rust", "rust,no_run")]
    if not programs:
        continue
    dependencies = next((text for kind, text in blocks if kind == "toml" and "dependencies]" in text), None)
    if dependencies is None:
        sys.exit(f"{page} shows programs and no dependencies")
    name = f"{page.parent.name or 'first'}-page"
    package = out / name
    members.append(name)
    (package / "src").mkdir(parents=True)
    (package / "src/lib.rs").touch()
    (package / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nedition = "2024"\npublish = false\n\n[lints.rust]\nwarnings = "deny"\n\n{dependencies}')
    for number, code in enumerate(programs, 1):
        if re.search(r"^# |^#$", code, re.M):
            sys.exit(f"{page}: program {number} hides lines, which are not hidden where it is not a page of docs.rs")
        kind = "examples" if re.search(r"\bfn main\(\)", code) else "tests"
        if kind == "tests" and "test]" not in code:
            sys.exit(f"{page}: program {number} has no main")
        (package / kind).mkdir(exist_ok=True)
        (package / kind / f"program_{number}.rs").write_text(code)
listed = ", ".join(f'"{name}"' for name in members)
(out / "Cargo.toml").write_text(f'[workspace]\nresolver = "3"\nmembers = [{listed}]\n\n[patch.crates-io]\n{patches}')
