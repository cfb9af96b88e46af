"""Print the code blocks of README.md in one language, in order: `python .ci/readme.py sh 1` prints the second."""

import re
import sys
from pathlib import Path

language, *chosen = sys.argv[1:]
text = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
blocks = re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
if not blocks:
    sys.exit(f"README.md has no {language} block")
print("\n".join(blocks[int(i)] for i in chosen) if chosen else "\n".join(blocks))
