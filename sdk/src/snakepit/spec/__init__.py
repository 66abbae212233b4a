"""The pool file as typed values: fields, defaults, limits and rules, and everything that is made from them.

`SnakePool` and `SnakePoolSpec` are the values; `decode_spec` and `encode_spec` move a spec between our programs; `load_pools` reads
what a person wrote, and `validate` says what the API server would say.
"""

from snakepit.spec.codec import InvalidPool as InvalidPool
from snakepit.spec.codec import decode_spec as decode_spec
from snakepit.spec.codec import encode_spec as encode_spec
from snakepit.spec.codec import load_pools as load_pools
from snakepit.spec.fields import SnakePool as SnakePool
from snakepit.spec.fields import SnakePoolSpec as SnakePoolSpec
from snakepit.spec.limits import quantity_bytes as quantity_bytes
from snakepit.spec.status import SnakePoolStatus as SnakePoolStatus
from snakepit.spec.validation import validate as validate
