"""The run-time type checker of the test suite: beartype, where a float may be an int (PEP 484) or a scalar tensor.

The latter stands in for physical parameters that are differentiated with respect to.
"""

from beartype import BeartypeConf, FrozenDict, beartype
from torch import Tensor

check = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({float: float | int | Tensor})))
