"""Texts that files of weights bring along, made fit for other files."""


def printable(text: str) -> str:
    r"""Put question marks for signs that cannot be printed: they may steer a terminal, and some cannot be encoded.

    >>> printable("digits\x1b[2J\n")
    'digits?[2J?'
    """
    return "".join(sign if sign.isprintable() else "?" for sign in text)
