"""What may come from anywhere, made fit to be printed."""


def printable(text: str) -> str:
    r"""A text without signs that would steer a terminal (escapes, bells, other directions): a `?` for each.

    Ends of lines stay.

    >>> printable("a cat\x1b[2J\x07\n")
    'a cat?[2J?\n'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)
