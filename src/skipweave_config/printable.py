"""Text from files, made safe to print."""


def printable(text: str) -> str:
    r"""Replace characters that control a terminal (escapes, bells, text direction) by `?`.

    Line feeds are kept.

    >>> printable("a cat\x1b[2J\x07\n")
    'a cat?[2J?\n'
    """
    return "".join(sign if sign.isprintable() or sign == "\n" else "?" for sign in text)


def unicode_text(text: str) -> str:
    r"""Escape what is not Unicode: bytes of a file's name that are not UTF-8.

    >>> unicode_text("caf\udce9")
    'caf\\udce9'
    """
    return text.encode(errors="backslashreplace").decode()
