"""The instructor's part: what makes the student copies of the labs. Students need none of it."""

import sys

# a grammar of internet addresses, which jsonschema loads for two seconds and no notebook needs
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
