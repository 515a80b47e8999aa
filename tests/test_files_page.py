"""docs/files.md says what the code does."""

from recipes.files_page import KINDS, PAGE, page
from triptych.exchange.formats import formats


def test_the_page_is_what_the_formats_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m recipes.files_page"


def test_every_format_is_on_it() -> None:
    assert {one.kind for one in formats().values()} <= KINDS.keys()
    assert all(f"| `{name}` |" in page() for name in formats())
