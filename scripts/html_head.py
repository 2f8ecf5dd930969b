"""The head of every page that is written to a file: its encoding and width, its title, and what it may load."""

import html

STYLES = "style-src 'unsafe-inline'"
SCRIPTS = "script-src 'unsafe-inline'"
PICTURES = "img-src data:"


def head(title: str, *allowed: str) -> str:
    """What stands in <head>. The page fetches nothing: only what it carries itself may be used, as far as allowed.

    Args:
        title: plain text. allowed: directives of a content security policy.
    """
    policy = "; ".join(["default-src 'none'", *allowed])
    return "\n".join(
        [
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{html.escape(title)}</title>",
        ]
    )
