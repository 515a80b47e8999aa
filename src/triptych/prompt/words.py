"""Where a text has a learned word: as a whole word, whatever its case."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=4096)
def whole_word(word: str) -> re.Pattern[str]:
    """Matches `word` where no letter, digit or underscore goes on with it: "sks" is not in "desks".

    Where the word itself begins or ends with another sign, as "<concept>" does, anything may stand beside it.
    """
    before = r"(?<!\w)" if re.match(r"\w", word) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", word) else ""
    return re.compile(f"{before}{re.escape(word)}{after}", re.IGNORECASE)
