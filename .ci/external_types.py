"""Lists the types and traits of other crates that the public API of each library names: a new line of theirs breaks its users."""

import re
import sys
from pathlib import Path

# What comes with the language, and what is released together with the library.
OWN = re.compile(r"(?:core|alloc|std|forebay\w*)::")

for page in sorted(Path(sys.argv[1]).glob("forebay*.txt")):
    # Modules, and the first name in camel case: what is behind it, such as a variant or a constant, is the type's own.
    paths = re.findall(r"(?<![\w:$])[a-z_]\w*(?:::[a-z_]\w*)*::[A-Z]\w*[a-z]\w*", page.read_text(encoding="utf-8"))
    for path in sorted({path for path in paths if not OWN.match(path)}):
        print(f"{page.stem}: {path}")
