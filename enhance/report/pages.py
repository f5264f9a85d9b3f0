"""HTML pages from the templates of this package; style and script are included in the page itself."""

import json
from typing import Any

from quietmic.enhance.jsonfile import plain


def render(name: str, **context: Any) -> str:
    """HTML of a template, everything in `context` escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("quietmic.enhance.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name).render(**context)


def script_json(value: Any) -> str:
    """JSON that may stand inside a script element: no tag can end it."""
    return json.dumps(plain(value), allow_nan=False).replace("<", "\\u003c")
