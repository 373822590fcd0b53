"""What the decoders raise when the bytes are not what docs/ says."""


class Damaged(Exception):
    pass


def need(condition, text):
    if not condition:
        raise Damaged(text)
