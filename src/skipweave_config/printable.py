"""Text from files, made safe to print."""


def printable(text: str) -> str:
    r"""Replace characters that control a terminal (escapes, bells, text direction) by `?`.

    Line feeds are kept.

    >>> printable("a cat\x1b[2J\x07\n")
    'a cat?[2J?\n'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)
