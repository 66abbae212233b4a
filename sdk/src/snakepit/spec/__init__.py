"""The pool file as typed values: fields, defaults, limits and rules, and everything that is made from them.

`SnakePool` and `SnakePoolSpec` are the values; `decode_spec` and `encode_spec` move a spec between our programs; `load_pools` reads
what a person wrote, and `validate` says what the API server would say; `crd` is the CustomResourceDefinition.
"""

from snakepit.spec.codec import InvalidPool, decode_spec, encode_spec, load_pools
from snakepit.spec.crd import crd
from snakepit.spec.fields import SnakePool, SnakePoolSpec, SnakePoolStatus, quantity_bytes
from snakepit.spec.rules import RULES, Rule
from snakepit.spec.validation import Problem, validate

__all__ = [
    "RULES",
    "InvalidPool",
    "Problem",
    "Rule",
    "SnakePool",
    "SnakePoolSpec",
    "SnakePoolStatus",
    "crd",
    "decode_spec",
    "encode_spec",
    "load_pools",
    "quantity_bytes",
    "validate",
]
