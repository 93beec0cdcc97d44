"""Writes _core.pyi: the written part, then one class per entity as the built module describes it.

Usage: make_stubs.py core.pyi.in _core.pyi
"""

import sys
import types

from bai_manager import _core

TYPES = [  # how the documentation of an attribute begins, and its type
    ("bool", "bool"),
    ("int", "int"),
    ("str", "str"),
    ("one of", "str"),
    ("datetime", "Optional[datetime.datetime]"),
    ("timedelta", "datetime.timedelta"),
    ("dict of amounts", "Dict[str, float]"),
    ("dict, list", "Any"),
    ("dict: status", "Dict[str, datetime.datetime]"),
    ("dict: why", "Optional[Dict[str, Any]]"),
    ("dict: available", "Dict[str, float]"),
    ("list of Kernel", "List[Kernel]"),
    ("list", "List[Any]"),
]


def annotation(doc):
    for start, name in TYPES:
        if doc.startswith(start):
            return f"Optional[{name}]" if doc.endswith(", or None") else name
    raise SystemExit(f"no type for an attribute that is documented as: {doc}")


def describe(cls):
    yield f"\nclass {cls.__name__}:"
    yield f'    """{cls.__doc__}"""'
    yield "    fields: Tuple[str, ...]"
    yield "    entity: str"
    for name, attribute in vars(cls).items():
        if not isinstance(attribute, types.GetSetDescriptorType):
            continue
        yield "    @property"
        yield f"    def {name}(self) -> {annotation(attribute.__doc__)}:"
        yield f'        """{attribute.__doc__}"""'
    yield "    def to_dict(self) -> Dict[str, Any]:"
    yield '        """All fields by name, secrets left out."""'


def main(template, target):
    with open(template, encoding="utf-8") as source:
        text = source.read()
    for cls in _core.row_classes.values():
        text += "\n".join(describe(cls)) + "\n"
    with open(target, "w", encoding="utf-8") as out:
        out.write(text)


main(*sys.argv[1:])
